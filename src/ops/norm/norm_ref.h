// The norms in plain loops, in float or double. bias null: RMSNorm.
#pragma once

#include <cmath>
#include <cstdint>

namespace mamba3::reference {

template <typename T>
void norm(const T* weight, const T* bias, const T* x, std::int64_t width, T* out) {
  constexpr T kEpsilon = static_cast<T>(1e-5);
  T mean = 0;
  if (bias != nullptr) {
    for (std::int64_t i = 0; i < width; ++i) mean += x[i];
    mean /= static_cast<T>(width);
  }
  T squares = 0;
  for (std::int64_t i = 0; i < width; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const T scale = 1 / std::sqrt(squares / static_cast<T>(width) + kEpsilon);
  for (std::int64_t i = 0; i < width; ++i) {
    out[i] = (x[i] - mean) * scale * weight[i] + (bias != nullptr ? bias[i] : T{0});
  }
}

}  // namespace mamba3::reference
