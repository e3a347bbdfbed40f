// RMSNorm and LayerNorm over rows in a device's memory.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/norm/norm.h"

namespace mamba3::cuda {

/// norm() of ops/norm/norm.h with pointers into the device's memory, weights included: x [rows, width] to out
/// [rows, width] (which may be x), dense. A row's bits do not depend on the other rows. x and out are aligned
/// to 16 bytes.
void norm(const NormWeights& weights, const float* x, std::int64_t rows, float* out, cudaStream_t stream);

/// The same, rounded to the nearest bf16: for products that take it.
void norm(const NormWeights& weights, const float* x, std::int64_t rows, __nv_bfloat16* out,
          cudaStream_t stream);

}  // namespace mamba3::cuda
