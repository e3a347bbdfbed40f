#include "ops/swiglu/swiglu.h"

namespace mamba3 {

void swiglu(Device device, float* value, const float* gate, std::int64_t count) {
  device == Device::cuda ? cuda::swiglu(value, gate, count) : cpu::swiglu(value, gate, count);
}

}  // namespace mamba3
