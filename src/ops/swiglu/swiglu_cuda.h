// The gated activation of the MLP in a device's memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace mamba3::cuda {

/// value[i] *= silu(gate[i]) for `count` values in memory of the device.
void swiglu(float* value, const float* gate, std::int64_t count, cudaStream_t stream);

}  // namespace mamba3::cuda
