// Products of a few rows of activations with weight matrices at the speed of memory, for decode.
//
// y[n, m] = sum_k u[n, k] W[m, k] for 1 to kMostThinRows rows n, where u is x or a norm of x. A step of one
// token reads every weight once and does little else, so that each launch does all that can be done to one
// input: the norm before, several matrices, the residual sum or SwiGLU behind.
//
// Arithmetic. BF16 weights meet u rounded to bf16; quantized weights (their integers, exact in float16) and
// F16 ones meet u in float16 times a power of two for each 256 inputs; F32 weights u in float32. Sums are
// float32. RMSNorm's 1 / sqrt(...) multiplies the sums: what is rounded is x gain. An output's bits depend on
// its row of x, on W, and on nothing else: not on the other rows, the number of multiprocessors or the run.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "ops/linear/cuda/matrix_cuda.h"

namespace mamba3::cuda {

inline constexpr int kMostThinRows = 16;
inline constexpr int kMostThinProducts = 4;

/// The input of products, [rows, cols], dense, aligned to 16 bytes: float32, or bf16 (the other is null).
/// With `gain` [cols] u is RMSNorm(x) = gain x / sqrt(mean(x^2) + eps), with `bias` [cols] too LayerNorm(x) =
/// gain (x - mean) / sqrt(var + eps) + bias, for x in float32; without, u is x. Gain and bias are float32,
/// aligned to 16 bytes.
struct ThinInput {
  const float* x = nullptr;
  const __nv_bfloat16* x_bf16 = nullptr;
  const float* gain = nullptr;
  const float* bias = nullptr;
  float eps = 1e-5f;
};

enum class ThinStore {
  bf16,    ///< y bf16 = u W^T
  f32,     ///< y float32 = u W^T
  add_f32  ///< y float32 += u W^T
};

/// One matrix and what becomes of its product. With `gate` (same type and shape as W) the value is
/// (u W^T) silu(u gate^T). y [rows, W.rows], `stride` values from row to row (0: W.rows).
struct ThinProduct {
  DeviceMatrix W;
  DeviceMatrix gate = {};
  ThinStore store = ThinStore::bf16;
  void* y = nullptr;
  std::int64_t stride = 0;
};

/// All `products` (at most kMostThinProducts; the same cols) of one input of `rows` rows (at most
/// kMostThinRows). One launch if all that are not F32 have one type; F32 ones come along.
/// `dependent`: the launch may start before the stream's previous kernel has ended (programmatic dependent
/// launch, from compute capability 9.0 on). It reads weights meanwhile, and x and y only after
/// that kernel is done. Every launch lets a dependent one start as soon as it has started itself.
void thin_linear(const ThinInput& input, std::span<const ThinProduct> products, int rows, bool dependent,
                 cudaStream_t stream);

}  // namespace mamba3::cuda
