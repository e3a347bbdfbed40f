#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/threads.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/linear/pack.h"

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

// Tokens and rows of the head in one slice: their logits are 1 MB, half of it in each of two threads' caches.
constexpr std::int64_t kBlock = 128, kSlice = 2048;

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

void cpu::cross_entropy(const Exec& exec, const PackedMatrix& head, const float* hidden,
                        std::span<const std::int32_t> targets, double* nll) {
  const Arena::Scope scope(*exec.arena);
  const auto count = static_cast<std::int64_t>(targets.size());
  auto* logits = exec.arena->take<float>(kBlock * kSlice);
  std::vector<Running> running(targets.size());
  for (std::int64_t block = 0; block < count; block += kBlock) {
    const std::int64_t rows = std::min(kBlock, count - block);
    for (std::int64_t first = 0; first < head.rows; first += kSlice) {
      const std::int64_t width = std::min(kSlice, head.rows - first);
      linear(exec, rows_of(head, first, width), hidden + block * head.cols, rows, logits);
      parallel_ranges(rows, [&](std::int64_t a, std::int64_t b) {
        for (std::int64_t row = a; row < b; ++row) {
          const float* values = logits + row * width;
          Running& state = running[block + row];
          state.add(values, width);
          const std::int64_t target = targets[block + row] - first;
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
