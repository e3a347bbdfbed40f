#include "ops/norm/norm.h"

namespace mamba3 {

void norm(Device device, const NormWeights& weights, const float* x, std::int64_t rows, float* out) {
  device == Device::cuda ? cuda::norm(weights, x, rows, out) : cpu::norm(weights, x, rows, out);
}

}  // namespace mamba3
