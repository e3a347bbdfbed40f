// Minus the log probability of the right token, without a [tokens, vocab] matrix.
#pragma once

#include <cstdint>
#include <span>

#include "core/arena.h"
#include "core/device.h"
#include "ops/linear/linear.h"

namespace mamba3 {

/// nll[i] = log(sum_j exp(l[i, j])) - l[i, target[i]] in nats, l = hidden W^T, for the tokens in rows
/// [begin, begin + targets.size()) of hidden [rows, head.cols]; rows is a multiple of kBlockRows. The head is
/// walked in slices of its rows; sums in float64. Precondition: every target is a row of the head.
void cross_entropy(Device device, Arena& arena, const Matrix& head, const float* hidden, std::int64_t rows,
                   std::int64_t begin, std::span<const std::int32_t> targets, double* nll);

namespace cpu {
void cross_entropy(Arena& arena, const Matrix& head, const float* hidden, std::int64_t rows,
                   std::int64_t begin, std::span<const std::int32_t> targets, double* nll);
}
namespace cuda {
void cross_entropy(Arena& arena, const Matrix& head, const float* hidden, std::int64_t rows,
                   std::int64_t begin, std::span<const std::int32_t> targets, double* nll);
}

}  // namespace mamba3
