// Rows of an embedding table in a device's memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/linear/cuda/matrix_cuda.h"

namespace mamba3::cuda {

/// out [count, table.cols] in float32, dense: the rows ids [count], which lie in the device's memory.
/// Precondition: every id is a row of the table.
void embedding(const DeviceMatrix& table, const std::int32_t* ids, std::int64_t count, float* out,
               cudaStream_t stream);

}  // namespace mamba3::cuda
