// RMSNorm and LayerNorm over rows.
#pragma once

#include <cstdint>

#include "core/device.h"

namespace mamba3 {

/// weight [width]; bias [width] makes it a LayerNorm, null a RMSNorm.
struct NormWeights {
  const float* weight = nullptr;
  const float* bias = nullptr;
  std::int64_t width = 0;
};

/// Each of `rows` dense rows of x [rows, width] to out (which may be x):
/// RMSNorm   x / sqrt(mean(x^2) + eps) * weight
/// LayerNorm (x - mean) / sqrt(variance + eps) * weight + bias
/// with eps = 1e-5 and sums in float32.
void norm(Device device, const NormWeights& weights, const float* x, std::int64_t rows, float* out);

namespace cpu {
void norm(const NormWeights& weights, const float* x, std::int64_t rows, float* out);
}
namespace cuda {
void norm(const NormWeights& weights, const float* x, std::int64_t rows, float* out);
}

}  // namespace mamba3
