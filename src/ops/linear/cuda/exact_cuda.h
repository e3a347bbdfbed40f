// Products in float32: the exact path.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/linear/cuda/matrix_cuda.h"

namespace mamba3::cuda {

/// y[i, j] = sum_k x[i, k] W[j, k], or y += that with `add`, for x [rows, W.cols] and y [rows, W.rows],
/// dense, in float32, W of any type that weights have. An output is one chain of fused multiply-adds over k,
/// ascending from zero: its bits depend on its row of x and its row of W alone. x and y are aligned to 16
/// bytes.
void exact_linear(const DeviceMatrix& W, const float* x, std::int64_t rows, float* y, bool add,
                  cudaStream_t stream);

}  // namespace mamba3::cuda
