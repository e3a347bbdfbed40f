// Norms of the residual stream for products on tensor cores.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/norm/norm.h"

namespace mamba3::cuda {

/// What becomes of normed rows v [rows, D]. Null: not wanted.
struct NormedRows {
  /// [rows, D] v rounded to bf16.
  __nv_bfloat16* bf16 = nullptr;
  /// [rows, 3 D] v in two parts for a float32 product on tensor cores (ops/linear/split_cuda.h).
  __half* parts = nullptr;
};

/// The norms of ops/norm/norm.h, one pass over memory: residual [rows, D] float32, D a multiple of 8 and at
/// most 16,384. `delta` [rows, D], unless null, is added to the residual in place first. All addresses are
/// multiples of 16 bytes.
void norm_rows(const NormWeights& weights, float* residual, const float* delta, std::int64_t rows,
               const NormedRows& out, cudaStream_t stream);

}  // namespace mamba3::cuda
