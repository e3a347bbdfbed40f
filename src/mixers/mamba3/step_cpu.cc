// One token of one head, and the elementwise functions of both forms.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "mixers/mamba3/kernels_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mixers/mamba3/step_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "mixers/mamba3/head-inl.h"
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

using cpu::Mamba3Token;

// The rows that meet the state. k_before and k carry beta and gamma already.
struct StepRows {
  float *k_before, *k, *q;  // [R, N]
  float *v_before, *v, *y;  // [R, P']
};

// One pass over the state: each row of P values is read, moved on, written, and read out by every rank.
// kRank ranks' values and sums stay in registers; 0 stands for any number, kept in memory.
template <int kRank>
HWY_INLINE void walk_state(const Mamba3Layout& l, float alpha, const StepRows& rows, float* state) {
  const D d;
  const std::int64_t L = lanes(), N = l.d_state, P = l.wide_p, R = kRank > 0 ? kRank : l.rank;
  constexpr int kHeld = kRank > 0 ? kRank : 1;
  const V decay = hn::Set(d, alpha);
  for (std::int64_t p = 0; p < P; p += L) {
    V before[kHeld], now[kHeld], sum[kHeld];
    for (std::int64_t r = 0; r < R; ++r) {
      if constexpr (kRank > 0) {
        before[r] = hn::Load(d, rows.v_before + r * P + p);
        now[r] = hn::Load(d, rows.v + r * P + p);
        sum[r] = hn::Zero(d);
      } else {
        hn::Store(hn::Zero(d), d, rows.y + r * P + p);
      }
    }
    for (std::int64_t n = 0; n < N; ++n) {
      V h = hn::Mul(decay, hn::Load(d, state + n * P + p));
      for (std::int64_t r = 0; r < R; ++r) {
        if constexpr (kRank == 0) {
          before[0] = hn::Load(d, rows.v_before + r * P + p);
          now[0] = hn::Load(d, rows.v + r * P + p);
        }
        const std::int64_t held = kRank > 0 ? r : 0;
        h = hn::MulAdd(hn::Set(d, rows.k_before[r * N + n]), before[held], h);
        h = hn::MulAdd(hn::Set(d, rows.k[r * N + n]), now[held], h);
      }
      hn::Store(h, d, state + n * P + p);
      for (std::int64_t r = 0; r < R; ++r) {
        const V q = hn::Set(d, rows.q[r * N + n]);
        if constexpr (kRank > 0) {
          sum[r] = hn::MulAdd(q, h, sum[r]);
        } else {
          hn::Store(hn::MulAdd(q, h, hn::Load(d, rows.y + r * P + p)), d, rows.y + r * P + p);
        }
      }
    }
    if constexpr (kRank > 0) {
      for (std::int64_t r = 0; r < R; ++r) hn::Store(sum[r], d, rows.y + r * P + p);
    }
  }
}

// (normed + bias), its first pairs rotated: out [N].
HWY_INLINE void rotate_row(const Mamba3Layout& l, bool is_mimo, const float* normed, const float* bias,
                           const float* cosine, const float* sine, float* out) {
  const std::int64_t half = l.d_state / 2;
  for (std::int64_t n = 0; n < l.d_state; ++n) out[n] = normed[n] + bias[n];
  for (std::int64_t pair = 0; pair < l.angles; ++pair) {
    float& a = out[is_mimo ? pair : 2 * pair];
    float& b = out[is_mimo ? pair + half : 2 * pair + 1];
    const float turned = a * cosine[pair] - b * sine[pair];
    b = a * sine[pair] + b * cosine[pair];
    a = turned;
  }
}

void step_head(const Mamba3Layout& l, bool is_mimo, const Mamba3HeadWeights& w, const Mamba3Token& in,
               Mamba3Head head, float* block) {
  const std::int64_t N = l.d_state, R = l.rank, P = l.wide_p;
  const auto next = [&block](std::int64_t n) {
    float* taken = block;
    block += padded(n);
    return taken;
  };
  float *cosine = next(l.angles), *sine = next(l.angles);
  const StepRows rows{next(R * N), next(R * N), next(R * N), next(R * P), next(R * P), next(R * P)};

  turn(head.theta, in.rate, in.dt, l.angles, cosine, sine);
  const float alpha = std::exp(in.adt), gamma = in.lambda * in.dt, beta = (1 - in.lambda) * in.dt * alpha;
  for (std::int64_t r = 0; r < R; ++r) {
    rotate_row(l, is_mimo, in.B + r * in.group_stride, w.B_bias + r * N, cosine, sine, rows.k + r * N);
    rotate_row(l, is_mimo, in.C + r * in.group_stride, w.C_bias + r * N, cosine, sine, rows.q + r * N);
    for (std::int64_t p = 0; p < P; ++p) {
      const bool real = p < l.headdim;
      const float spread = !real || w.mimo_x == nullptr ? 1.0f : w.mimo_x[r * l.headdim + p];
      rows.v[r * P + p] = real ? in.x[p] * spread : 0.0f;
      rows.v_before[r * P + p] = head.x[p] * spread;
    }
  }
  for (std::int64_t i = 0; i < R * N; ++i) {
    rows.k_before[i] = beta * head.k[i];
    head.k[i] = rows.k[i];
    rows.k[i] *= gamma;
  }
  std::copy_n(in.x, l.headdim, head.x);
  switch (R) {
    case 1:
      walk_state<1>(l, alpha, rows, head.h);
      break;
    case 2:
      walk_state<2>(l, alpha, rows, head.h);
      break;
    case 4:
      walk_state<4>(l, alpha, rows, head.h);
      break;
    default:
      walk_state<0>(l, alpha, rows, head.h);
  }
  for (std::int64_t r = 0; r < R; ++r) {
    for (std::int64_t p = 0; p < l.headdim; ++p) rows.y[r * P + p] += w.D * rows.v[r * P + p];
  }
  gate_token(l, w, rows.y, in.z, in.out);
}

void angle_rate(const float* angle, std::int64_t n, float* rate) {
  transform(angle, n, rate, [](V v) {
    const D d;
    return hn::Mul(hn::Tanh(d, v), hn::Set(d, std::numbers::pi_v<float>));
  });
}

void sigmoids(const float* v, std::int64_t n, float* out) {
  transform(v, n, out, [](V x) { return sigmoid(x); });
}

void softpluses(const float* v, std::int64_t n, float* out) {
  transform(v, n, out, [](V x) { return softplus(x); });
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(step_head);
HWY_EXPORT(angle_rate);
HWY_EXPORT(sigmoids);
HWY_EXPORT(softpluses);

namespace cpu {

void step_head(const Mamba3Layout& layout, bool is_mimo, const Mamba3HeadWeights& weights,
               const Mamba3Token& token, Mamba3Head head, float* scratch) {
  HWY_DYNAMIC_DISPATCH(step_head)(layout, is_mimo, weights, token, head, scratch);
}

void angle_rate(const float* angle, std::int64_t n, float* rate) {
  HWY_DYNAMIC_DISPATCH(angle_rate)(angle, n, rate);
}
void sigmoid(const float* v, std::int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(sigmoids)(v, n, out);
}
void softplus(const float* v, std::int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(softpluses)(v, n, out);
}

}  // namespace cpu
}  // namespace mamba3
#endif
