// The gated activation of the MLP.
#pragma once

#include <cstdint>

#include "core/device.h"

namespace mamba3 {

/// value[i] *= silu(gate[i]) for `count` values; silu(v) = v / (1 + e^-v).
void swiglu(Device device, float* value, const float* gate, std::int64_t count);

namespace cpu {
void swiglu(float* value, const float* gate, std::int64_t count);
}
namespace cuda {
void swiglu(float* value, const float* gate, std::int64_t count);
}

}  // namespace mamba3
