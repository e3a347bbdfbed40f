#include <cmath>

#include "ops/norm/norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/norm/norm_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

constexpr float kNormEps = 1e-5f;

// Sum of f(x[i]) with one chain a lane; the remainder is added in order.
template <typename F>
HWY_INLINE float sum_of(const float* x, std::int64_t n, const F& f) {
  const D d;
  const std::int64_t L = lanes();
  V sum = hn::Zero(d);
  std::int64_t i = 0;
  for (; i + L <= n; i += L) sum = hn::Add(sum, f(hn::LoadU(d, x + i)));
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < n; ++i) total += hn::GetLane(f(hn::Set(d, x[i])));
  return total;
}

void norm_row(const NormWeights& w, const float* x, float* out) {
  const D d;
  const auto width = static_cast<float>(w.width);
  const float mean = w.bias == nullptr ? 0.0f : sum_of(x, w.width, [](V v) { return v; }) / width;
  const V shift = hn::Set(d, mean);
  const float squares =
      sum_of(x, w.width, [&](V v) { return hn::Mul(hn::Sub(v, shift), hn::Sub(v, shift)); });
  const float scale = 1.0f / std::sqrt(squares / width + kNormEps);
  for (std::int64_t i = 0; i < w.width; ++i) {
    const float normed = (x[i] - mean) * scale * w.weight[i];
    out[i] = w.bias == nullptr ? normed : normed + w.bias[i];
  }
}

void norm(const NormWeights& w, const float* x, std::int64_t rows, float* out) {
  for (std::int64_t i = 0; i < rows; ++i) norm_row(w, x + i * w.width, out + i * w.width);
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(norm);

void cpu::norm(const NormWeights& weights, const float* x, std::int64_t rows, float* out) {
  HWY_DYNAMIC_DISPATCH(norm)(weights, x, rows, out);
}

}  // namespace mamba3
#endif
