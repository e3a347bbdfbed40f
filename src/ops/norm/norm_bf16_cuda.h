// Norms of the residual stream for products on tensor cores.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/norm/norm.h"

namespace mamba3::cuda {

/// How normed rows v are written.
enum class NormedRows {
  bf16,  ///< [rows, D], rounded
  split  ///< [rows, 3 D], the parts low, high, high of a float32 product (ops/linear/cuda/split_cuda.h)
};

/// The norms of ops/norm/norm.h, one pass over memory: residual [rows, D] float32, D a multiple of 8 and at
/// most 16,384. All addresses are multiples of 16 bytes.
void norm_rows(const NormWeights& weights, const float* residual, std::int64_t rows, NormedRows form,
               __nv_bfloat16* out, cudaStream_t stream);

}  // namespace mamba3::cuda
