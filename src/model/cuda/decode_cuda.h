// Single tokens of a batch of sessions through the network on a GPU: one captured graph for each batch size.
#pragma once

#include "model/cuda/chain_cuda.h"
#include "model/cuda/sessions_cuda.h"
#include "ops/sample/sample_cuda.h"

namespace mamba3::cuda {

/// A captured sequence of launches, ready to be launched as one.
class Graph {
 public:
  Graph() = default;
  /// Captures what `work` launches into `stream`.
  Graph(cudaStream_t stream, const std::function<void()>& work);
  ~Graph();
  Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(graph_, other.graph_);
    return *this;
  }
  void launch(cudaStream_t stream) const;

 private:
  cudaGraphExec_t graph_ = nullptr;
};

/// Tokens that a repeat penalty counts at most where the GPU draws: four times the default.
inline constexpr std::int64_t kMostRecent = 256;

/// Steps of `batch` sessions. The graphs read ids, states, positions and tails from device memory, so any
/// sessions at any positions can take part. Not for several threads at once.
template <typename T>
class Decoder {
 public:
  Decoder(const NetworkLayers& network, Products& products, std::int64_t batch, cudaStream_t stream);

  /// As Network::step.
  void step(std::span<const TokenId> ids, std::span<NetworkState* const> states, float* hidden);
  /// As Network::draws and Network::draw.
  static bool draws(const SamplerOptions& options);
  void draw(std::span<const TokenId> ids, std::span<NetworkState* const> states,
            std::span<Sampler* const> samplers, std::int64_t words, std::span<TokenId> drawn);
  /// As Network::greedy: nothing waits for the host between the tokens.
  void greedy(std::span<TokenId> ids, std::span<NetworkState* const> states, std::int64_t steps);

 private:
  void warm_up();
  void choose_words(std::int64_t words);
  void send_samplers(std::span<Sampler* const> samplers);
  void keep_hidden(std::span<NetworkState* const> states, const float* hidden) const;
  void enqueue(bool draws);
  void send(std::span<const TokenId> ids, std::span<NetworkState* const> states);
  void move_on(std::span<NetworkState* const> states, std::int64_t steps) const;

  const NetworkLayers& network_;
  LayerChain<T> chain_;
  std::int64_t batch_;
  cudaStream_t stream_;
  BatchTable table_;
  Buffer<float> residual_, hidden_, logits_;
  Buffer<float> history_;  // hidden vectors of the last steps, those that a rewound session may need
  Buffer<SamplerSlot> slots_;
  Buffer<std::int32_t> recent_;
  std::int64_t words_ = 0;  // candidates that draw_ is captured for
  bool captured_ = false;   // draw_ is made when it is first wanted
  Buffer<std::byte> sample_scratch_;
  Graph read_, draw_;  // a step that ends with hidden vectors, and one that goes on to the next ids
};

}  // namespace mamba3::cuda
