// Texts through the network on a GPU, packed into windows.
#pragma once

#include "model/cuda/chain_cuda.h"
#include "model/cuda/sessions_cuda.h"

namespace mamba3::cuda {

/// Whether the bfloat16 kernels cover a model's shape: rows in pieces of 16 bytes. Others run in float32.
bool has_bf16_kernels(const ModelConfig& config);

/// Reads prompts, many at once. Scratch memory grows to what the largest window needs and stays. Not for
/// several threads at once.
template <typename T>
class Prefill {
 public:
  Prefill(const NetworkLayers& network, Products& products, cudaStream_t stream);

  /// As Network::prefill_all; the visitors see one prompt's rows at a time.
  void run(std::span<const Prompt> prompts, const PrefillVisitors& visitors);

 private:
  /// Consecutive tokens of one prompt.
  struct Piece {
    NetworkState* state;
    std::span<const TokenId> ids;
  };

  void window(std::span<const Piece> pieces, const PrefillVisitors& visitors);
  void fill_table(std::span<const Piece> pieces);
  void fold(std::span<const Piece> pieces);
  void mix(const NetworkLayer& layer, std::int64_t index, const MixerRows<T>& rows, std::int64_t longest);
  void reserve(std::int64_t tokens, std::int64_t sessions);
  void keep_last(std::span<const Piece> pieces);
  void show(std::span<const Piece> pieces, std::int64_t depth, const ResidualVisitor& visitor);
  void show_hidden(std::span<const Piece> pieces, const HiddenVisitor& visitor);

  const NetworkLayers& network_;
  LayerChain<T> chain_;
  cudaStream_t stream_;
  std::int64_t most_tokens_;
  std::unique_ptr<BatchTable> table_;
  std::int64_t tokens_ = 0, sessions_ = 0;  // of this window
  Buffer<float> residual_, hidden_, dynamics_;
  Buffer<std::byte> scan_workspace_;
};

}  // namespace mamba3::cuda
