// From a file's rows to planes in a device's memory, and from planes to dense bf16.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "ops/linear/cuda/matrix_cuda.h"

namespace mamba3::cuda {

/// Rows [first, first + count) of the matrix [rows, cols] of type `type` whose planes lie at `memory` (as
/// matrix_at has them), from `stored`: `count` rows as a file stores them, in memory of the device, blocks at
/// any alignment.
void cut_planes(DType type, std::int64_t rows, std::int64_t cols, const std::byte* stored, std::int64_t first,
                std::int64_t count, std::byte* memory, cudaStream_t stream);

/// Rows [first, first + count) of W as a view of their own. Its planes need not be aligned to
/// kPlaneAlignment, only to what their rows leave.
DeviceMatrix rows_of(const DeviceMatrix& W, std::int64_t first, std::int64_t count);

/// Rows [first, first + count) of W to out [count, W.cols], rounded to the nearest bf16: for products that
/// take nothing else. W.cols is a multiple of 8.
void unpack_bf16(const DeviceMatrix& W, std::int64_t first, std::int64_t count, __nv_bfloat16* out,
                 cudaStream_t stream);

}  // namespace mamba3::cuda
