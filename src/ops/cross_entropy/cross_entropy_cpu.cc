#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/threads.h"
#include "ops/cross_entropy/cross_entropy.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cross_entropy/cross_entropy_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

// sum of exp(v[i] - largest), added up in float64 by pieces so that a vocabulary of any size loses nothing.
double sum_exp(const float* v, std::int64_t n, float largest) {
  const D d;
  const std::int64_t L = lanes();
  constexpr std::int64_t kPiece = 256;
  const V shift = hn::Set(d, largest);
  double total = 0;
  std::int64_t i = 0;
  while (i + L <= n) {
    V sum = hn::Zero(d);
    const std::int64_t end = std::min(n, i + kPiece);
    for (; i + L <= end; i += L) sum = hn::Add(sum, hn::Exp(d, hn::Sub(hn::LoadU(d, v + i), shift)));
    total += hn::GetLane(hn::SumOfLanes(d, sum));
  }
  for (; i < n; ++i) total += std::exp(v[i] - largest);
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(sum_exp);

namespace {

// Rows of the head in one slice: 64 rows of 2,048 logits are 512 KB, which stay in the second-level cache.
constexpr std::int64_t kSlice = 2048;

// log(sum exp) so far, as its largest term and the sum relative to it.
struct Running {
  float largest = -std::numeric_limits<float>::infinity();
  double sum = 0;
  double target = 0;  // the target's logit, once met

  void add(const float* logits, std::int64_t n) {
    const float top = *std::max_element(logits, logits + n);
    if (top > largest) {
      sum *= std::exp(static_cast<double>(largest) - top);
      largest = top;
    }
    sum += HWY_DYNAMIC_DISPATCH(sum_exp)(logits, n, largest);
  }
};

}  // namespace

void cpu::cross_entropy(Arena& arena, const Matrix& head, const float* hidden, std::int64_t rows,
                        std::int64_t begin, std::span<const std::int32_t> targets, double* nll) {
  const Arena::Scope scope(arena);
  const auto count = static_cast<std::int64_t>(targets.size());
  auto* logits = arena.take<float>(kBlockRows * kSlice);
  std::vector<Running> running(targets.size());
  for (std::int64_t block = begin / kBlockRows * kBlockRows; block < begin + count; block += kBlockRows) {
    for (std::int64_t first = 0; first < head.rows; first += kSlice) {
      const std::int64_t width = std::min(kSlice, head.rows - first);
      const Matrix slice{head.dtype, width, head.cols, head.row(first)};
      cpu::linear(slice, hidden + block * head.cols, kBlockRows, logits);
      const std::int64_t from = std::max(begin, block), to = std::min(begin + count, block + kBlockRows);
      parallel_ranges(to - from, [&](std::int64_t a, std::int64_t b) {
        for (std::int64_t row = from + a; row < from + b; ++row) {
          const float* values = logits + (row - block) * width;
          Running& state = running[row - begin];
          state.add(values, width);
          const std::int64_t target = targets[row - begin] - first;
          if (target >= 0 && target < width) state.target = values[target];
        }
      });
    }
  }
  for (std::int64_t i = 0; i < count; ++i) {
    nll[i] = std::log(running[i].sum) + running[i].largest - running[i].target;
  }
}

}  // namespace mamba3
#endif
