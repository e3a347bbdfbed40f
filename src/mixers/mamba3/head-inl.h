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

// theta + rate dt, modulo 2 pi.
HWY_INLINE V turned(V theta, V rate, float dt) {
  const D d;
  const V two_pi = hn::Set(d, 2 * std::numbers::pi_v<float>);
  const V inverse = hn::Set(d, 0.5f * std::numbers::inv_pi_v<float>);
  V t = hn::MulAdd(rate, hn::Set(d, dt), theta);
  t = hn::NegMulAdd(hn::Floor(hn::Mul(t, inverse)), two_pi, t);
  t = hn::Max(t, hn::Zero(d));  // rounding may leave -0 or a hair below
  return hn::IfThenElse(hn::Ge(t, two_pi), hn::Sub(t, two_pi), t);
}

// Turns all angles of one token; then their cosine and sine.
HWY_INLINE void turn(float* theta, const float* rate, float dt, std::int64_t angles, float* cosine,
                     float* sine) {
  const D d;
  for (std::int64_t s = 0; s < angles; s += lanes()) {
    const V t = turned(load_some(theta + s, angles - s), hn::LoadU(d, rate + s), dt);
    V c, sn;
    cosine_sine(t, c, sn);
    store_some(t, theta + s, angles - s);
    store_some(c, cosine + s, angles - s);
    store_some(sn, sine + s, angles - s);
  }
}

// 1 / the root mean square of y [P].
HWY_INLINE float inverse_rms(const float* y, std::int64_t P) {
  const D d;
  V squares = hn::Zero(d);
  for (std::int64_t p = 0; p < P; p += lanes()) {
    const V part = load_some(y + p, P - p);
    squares = hn::MulAdd(part, part, squares);
  }
  const float mean = hn::GetLane(hn::SumOfLanes(d, squares)) / static_cast<float>(P);
  return 1.0f / std::sqrt(mean + static_cast<float>(kNormEpsilon));
}

// Step 9: norm and gate of one token, summed over its ranks. y [R, P'], z, out [P].
HWY_INLINE void gate_token(const Mamba3Layout& l, const Mamba3HeadWeights& w, float* y, const float* z,
                           float* out) {
  const D d;
  const std::int64_t P = l.headdim;
  const float *mimo_z = w.mimo_z, *mimo_o = w.mimo_o;
  for (std::int64_t r = 0; w.norm != nullptr && r < l.rank; ++r) {
    float* row = y + r * l.wide_p;
    const V scale = hn::Set(d, inverse_rms(row, P));
    for (std::int64_t p = 0; p < P; p += lanes()) {
      const V normed = hn::Mul(hn::Mul(hn::Load(d, row + p), scale), load_some(w.norm + p, P - p));
      hn::Store(normed, d, row + p);
    }
  }
  for (std::int64_t p = 0; p < P; p += lanes()) {
    const std::int64_t left = P - p;
    const V gate = load_some(z + p, left);
    V sum = hn::Zero(d);
    if (mimo_z == nullptr) {
      sum = hn::Mul(hn::Load(d, y + p), silu(gate));
    } else {
      for (std::int64_t r = 0; r < l.rank; ++r) {
        const V gated = hn::Mul(hn::Load(d, y + r * l.wide_p + p),
                                silu(hn::Mul(gate, load_some(mimo_z + r * P + p, left))));
        sum = hn::MulAdd(gated, load_some(mimo_o + r * P + p, left), sum);
      }
    }
    store_some(sum, out + p, left);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#endif
