#include "ops/cross_entropy/cross_entropy.h"

namespace mamba3 {

void cross_entropy(const Exec& exec, const PackedMatrix& head, const float* hidden,
                   std::span<const std::int32_t> targets, double* nll) {
  exec.device == Device::cuda ? cuda::cross_entropy(exec, head, hidden, targets, nll)
                              : cpu::cross_entropy(exec, head, hidden, targets, nll);
}

}  // namespace mamba3
