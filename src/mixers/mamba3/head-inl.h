// What a chunk and a step of one head share: turning the angles, and the gate. Included once per instruction
// set.

#if defined(MAMBA3_MIXERS_MAMBA3_HEAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MAMBA3_MIXERS_MAMBA3_HEAD_INL_H_
#undef MAMBA3_MIXERS_MAMBA3_HEAD_INL_H_
#else
#define MAMBA3_MIXERS_MAMBA3_HEAD_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <numbers>

#include "mixers/mamba3/kernels_cpu.h"
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

using cpu::Mamba3HeadWeights;

// theta + rate dt, modulo 2 pi, for all angles; then their cosine and sine.
HWY_INLINE void turn(float* theta, const float* rate, float dt, std::int64_t angles, float* cosine,
                     float* sine, std::int64_t stride) {
  const D d;
  const std::int64_t L = lanes();
  const V two_pi = hn::Set(d, 2 * std::numbers::pi_v<float>);
  const V inverse = hn::Set(d, 0.5f * std::numbers::inv_pi_v<float>);
  HWY_ALIGN float buffer[kPadding], cosines[kPadding], sines[kPadding];
  for (std::int64_t s = 0; s < angles; s += L) {
    const std::int64_t n = std::min(L, angles - s);
    std::fill_n(buffer, kPadding, 0.0f);
    std::copy_n(theta + s, n, buffer);
    V t = hn::MulAdd(hn::LoadU(d, rate + s), hn::Set(d, dt), hn::Load(d, buffer));
    t = hn::NegMulAdd(hn::Floor(hn::Mul(t, inverse)), two_pi, t);
    t = hn::Max(t, hn::Zero(d));  // rounding may leave -0 or a hair below
    t = hn::IfThenElse(hn::Ge(t, two_pi), hn::Sub(t, two_pi), t);
    hn::Store(t, d, buffer);
    hn::Store(hn::Cos(d, t), d, cosines);
    hn::Store(hn::Sin(d, t), d, sines);
    std::copy_n(buffer, n, theta + s);
    for (std::int64_t i = 0; i < n; ++i) {
      cosine[(s + i) * stride] = cosines[i];
      sine[(s + i) * stride] = sines[i];
    }
  }
}

// Step 9: norm, gate and the sum over ranks, for one token and rank. y [P'], z, out [P].
HWY_INLINE void gate_row(const Mamba3Layout& l, const Mamba3HeadWeights& w, std::int64_t r, const float* y,
                         const float* z, float* out) {
  HWY_ALIGN float gate[kPadding];
  float scale = 1;
  if (w.norm != nullptr) {
    float squares = 0;
    for (std::int64_t p = 0; p < l.headdim; ++p) squares += y[p] * y[p];
    scale = 1.0f / std::sqrt(squares / static_cast<float>(l.headdim) + static_cast<float>(kNormEpsilon));
  }
  for (std::int64_t p0 = 0; p0 < l.headdim; p0 += kPadding) {
    const std::int64_t n = std::min(kPadding, l.headdim - p0);
    const std::int64_t at = r * l.headdim + p0;
    for (std::int64_t i = 0; i < n; ++i)
      gate[i] = w.mimo_z == nullptr ? z[p0 + i] : z[p0 + i] * w.mimo_z[at + i];
    transform(gate, n, gate, [](V v) { return silu(v); });
    for (std::int64_t i = 0; i < n; ++i) {
      const float normed = w.norm == nullptr ? y[p0 + i] : y[p0 + i] * scale * w.norm[p0 + i];
      const float gated = normed * gate[i];
      if (w.mimo_o == nullptr) {
        out[p0 + i] = gated;
      } else {
        out[p0 + i] = r == 0 ? gated * w.mimo_o[at + i] : out[p0 + i] + gated * w.mimo_o[at + i];
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#endif
