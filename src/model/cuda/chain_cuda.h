// The layers over rows of activations on a GPU: the part that a sequence and a batch of single tokens share.
#pragma once

#include <cuda_bf16.h>

#include <functional>

#include "core/cuda/side_stream.h"
#include "model/cuda/layers_cuda.h"
#include "ops/linear/cuda/gemm_cuda.h"
#include "ops/linear/cuda/thin_cuda.h"

namespace mamba3::cuda {

/// What stands between in_proj and out_proj of one layer: the scan of sequences, or a step of sessions.
/// projected [rows, in_rows], dynamics [rows, 3H + S], gated [rows, E].
template <typename T>
struct MixerRows {
  T* projected;
  const float* dynamics;
  T* gated;
};

/// What products of many rows need, shared by the chains of one stream.
struct Products {
  Buffer<std::byte> memory{2 * static_cast<std::int64_t>(kGemmWorkspace)};
  Gemm main{memory.data()};
  Gemm beside{memory.data() + kGemmWorkspace};  ///< for `side`
  SideStream side;
};

/// Rows up to which the products of thin_cuda.h are quicker than cuBLASLt's: those of a layer take 42 us
/// against 52 at 8 rows, 54 against 53 at 16 (docs/performance_gpu.md).
inline constexpr std::int64_t kThinRows = 8;

/// Products and elementwise work over rows of T: float is the exact path (every output one chain of fused
/// multiply-adds, no plan, no split), bfloat16 the fast one (few rows in fused products of our own, many by
/// cuBLASLt). The residual stream is float32 in both. Not for several threads at once.
template <typename T>
class LayerChain {
 public:
  using Mixer = std::function<void(const NetworkLayer& layer, std::int64_t index, const MixerRows<T>& rows)>;

  LayerChain(const NetworkLayers& network, Products& products) : network_(network), products_(products) {}

  /// Few rows of the fast path read each weight once, with what stands before and behind in one kernel. Such
  /// kernels may begin before the one in front of them has ended.
  static bool is_thin(std::int64_t rows) { return !kExact && rows <= kThinRows; }

  /// Memory and plans for that many rows; afterwards run() allocates nothing for them.
  void prepare(std::int64_t rows);

  /// residual [rows, D] through every layer. `on_layer`, unless empty, is called after each.
  void run(std::int64_t rows, float* residual, const Mixer& mixer,
           const std::function<void(std::int64_t depth)>& on_layer, cudaStream_t stream);

  /// hidden [rows, D] = norm_f(residual), float32.
  void final_norm(std::int64_t rows, const float* residual, float* hidden, cudaStream_t stream) const;

  /// out [rows, count] = hidden times the head's rows [first, first + count), for at most `rows` of
  /// prepare().
  void head(std::int64_t rows, const float* hidden, std::int64_t first, std::int64_t count, float* out,
            cudaStream_t stream);

 private:
  /// Values from row to row; 0: dense.
  struct Strides {
    std::int64_t x = 0, y = 0;
  };
  static constexpr bool kExact = std::is_same_v<T, float>;

  void thin_project(const NetworkLayer& layer, std::int64_t rows, const float* residual, cudaStream_t stream);
  void thin_add(const DeviceMatrix& W, std::int64_t rows, float* residual, cudaStream_t stream);
  void thin_mlp(const NetworkLayer& layer, std::int64_t rows, float* residual, cudaStream_t stream);

  void project(const NetworkLayer& layer, std::int64_t rows, float* residual, cudaStream_t stream);
  void mlp(const NetworkLayer& layer, std::int64_t rows, float* residual, cudaStream_t stream);
  void up_and_gate(const NetworkLayer& layer, std::int64_t rows, T* out, cudaStream_t stream);
  void store(const DeviceMatrix& W, std::int64_t rows, const T* x, T* y, Strides strides,
             cudaStream_t stream);
  void add(const DeviceMatrix& W, std::int64_t rows, const T* x, float* y, cudaStream_t stream);
  const T* values_of(const DeviceMatrix& W, cudaStream_t stream);

  const NetworkLayers& network_;
  Products& products_;
  std::int64_t capacity_ = 0;
  Buffer<T> normed_;    // rows of D, or of their parts
  Buffer<T> wide_;      // projected, then up and gate
  Buffer<T> narrow_;    // gated, then the MLP's middle
  Buffer<T> unpacked_;  // a quantized matrix, on its way into a product
  Buffer<float> dynamics_;
};

extern template class LayerChain<float>;
extern template class LayerChain<__nv_bfloat16>;

}  // namespace mamba3::cuda
