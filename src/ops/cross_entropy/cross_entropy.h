// Minus the log probability of the right token, without a [tokens, vocab] matrix.
#pragma once

#include <cstdint>
#include <span>

#include "ops/linear/linear.h"

namespace mamba3 {

/// nll[i] = log(sum_j exp(l[i, j])) - l[i, target[i]] in nats, l = hidden W^T, for hidden [targets.size(),
/// head.cols], dense. The head is walked in slices of its rows; sums in float64. Precondition: every target
/// is a row of the head.
void cross_entropy(const Exec& exec, const PackedMatrix& head, const float* hidden,
                   std::span<const std::int32_t> targets, double* nll);

namespace cpu {
void cross_entropy(const Exec& exec, const PackedMatrix& head, const float* hidden,
                   std::span<const std::int32_t> targets, double* nll);
}
namespace cuda {
void cross_entropy(const Exec& exec, const PackedMatrix& head, const float* hidden,
                   std::span<const std::int32_t> targets, double* nll);
}

}  // namespace mamba3
