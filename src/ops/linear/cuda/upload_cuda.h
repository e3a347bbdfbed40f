// Packed weights of the CPU, in a device's memory.
#pragma once

#include "core/cuda/staging.h"
#include "ops/linear/cuda/matrix_cuda.h"
#include "ops/linear/linear.h"

namespace mamba3::cuda {

/// Unpacks W and cuts it into planes, in memory of `staging`.
DeviceMatrix upload(Staging& staging, const PackedMatrix& W);

}  // namespace mamba3::cuda
