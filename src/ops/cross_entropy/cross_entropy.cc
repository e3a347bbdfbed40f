#include "ops/cross_entropy/cross_entropy.h"

namespace mamba3 {

void cross_entropy(Device device, Arena& arena, const Matrix& head, const float* hidden, std::int64_t rows,
                   std::int64_t begin, std::span<const std::int32_t> targets, double* nll) {
  device == Device::cuda ? cuda::cross_entropy(arena, head, hidden, rows, begin, targets, nll)
                         : cpu::cross_entropy(arena, head, hidden, rows, begin, targets, nll);
}

}  // namespace mamba3
