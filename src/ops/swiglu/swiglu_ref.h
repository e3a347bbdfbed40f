// The gated activation in a plain loop, in float or double.
#pragma once

#include <cmath>
#include <cstdint>

namespace mamba3::reference {

template <typename T>
void swiglu(T* value, const T* gate, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) value[i] *= gate[i] / (1 + std::exp(-gate[i]));
}

}  // namespace mamba3::reference
