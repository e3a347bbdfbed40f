// y = x W^T in plain loops, in float or double.
#pragma once

#include <cstdint>

namespace mamba3::reference {

/// W [outputs, inputs], x [rows, inputs], y [rows, outputs].
template <typename T>
void linear(const T* W, std::int64_t outputs, std::int64_t inputs, const T* x, std::int64_t rows, T* y) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < outputs; ++j) {
      T sum = 0;
      for (std::int64_t k = 0; k < inputs; ++k) sum += x[i * inputs + k] * W[j * inputs + k];
      y[i * outputs + j] = sum;
    }
  }
}

}  // namespace mamba3::reference
