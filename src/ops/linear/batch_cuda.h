// Products of a batch of 17 to 128 rows with bf16 weight matrices, for decode: between the thin products
// (thin_cuda.h) and cuBLASLt (gemm_cuda.h).
//
// With so few rows the weights are what has to be moved, in microseconds, and what a library's product loses
// is its beginning and its end. Here the inputs of an output are shared by up to 8 blocks, so that all
// multiprocessors read weights also where the matrix has few outputs; the blocks of a cluster add their sums
// up through each other's shared memory; several matrices go in one launch; and weights are fetched before
// the kernel in front has ended.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <span>

#include "ops/linear/gemm_cuda.h"

namespace mamba3::cuda {

inline constexpr int kMostBatchRows = 128;
inline constexpr int kMostBatchProducts = 4;

/// y [rows, outputs] = x W^T, sums in float32, for W [outputs, inputs] dense and x [rows, inputs]. Strides
/// are values from row to row. inputs and x_stride are multiples of 8, addresses of W and x of 16 bytes, of y
/// of 16 bytes.
struct BatchProduct {
  const __nv_bfloat16* W = nullptr;
  std::int64_t outputs = 0;
  std::int64_t inputs = 0;
  const __nv_bfloat16* x = nullptr;
  std::int64_t x_stride = 0;
  GemmOutput output = GemmOutput::bf16;
  void* y = nullptr;
  std::int64_t y_stride = 0;
};

/// All `products` (at most kMostBatchProducts) in one launch; those with the most inputs best come first. An
/// output's bits depend on its row of x, its row of W and the shapes of the products, not on the other rows
/// or the device's size. `dependent`: may begin before the stream's previous kernel has ended; it touches x
/// and y only after that. From compute capability 9.0 on: is there a quicker way than cuBLASLt, which serves
/// the others.
void batch_linear(std::span<const BatchProduct> products, int rows, bool dependent, cudaStream_t stream);

}  // namespace mamba3::cuda
