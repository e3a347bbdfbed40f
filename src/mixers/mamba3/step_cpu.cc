// A single token of one head, the folding of a tail into its checkpoint, and the elementwise functions of
// both forms.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "mixers/mamba3/kernels_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mixers/mamba3/step_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "mixers/mamba3/head-inl.h"
#include "mixers/mamba3/slots-inl.h"
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

using cpu::Mamba3Token;

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

// Puts the token into the tail's slot `last`, and its q into scratch.
HWY_INLINE void append(const Mamba3Layout& l, bool is_mimo, const Mamba3HeadWeights& w, const Mamba3Token& in,
                       std::int64_t last, const Mamba3Head& head, const StepScratch& s) {
  const std::int64_t N = l.d_state, at = last - 1;
  head.alpha[at] = std::exp(in.adt);
  head.own[at] = in.lambda * in.dt;
  head.before[at] = (1 - in.lambda) * in.dt;
  head.dt[at] = in.dt;
  std::copy_n(in.x, l.headdim, head.x(last));
  turn(head.theta, in.rate, in.dt, l.angles, s.cosine, s.sine, 1);
  for (std::int64_t r = 0; r < l.rank; ++r) {
    const float *B = in.B + r * in.group_stride, *C = in.C + r * in.group_stride;
    float* q = s.q + r * l.wide_n;
    rotate_row(l, is_mimo, B, w.B_bias + r * N, s.cosine, s.sine, head.k(last) + r * l.wide_n);
    rotate_row(l, is_mimo, C, w.C_bias + r * N, s.cosine, s.sine, q);
    std::fill(q + N, q + l.wide_n, 0.0f);
  }
}

void step_head(const Mamba3Layout& l, bool is_mimo, const Mamba3HeadWeights& w, const Mamba3Token& in,
               std::int64_t tail, bool folds, Mamba3Head head, float* block) {
  const StepScratch s(l, block);
  const std::int64_t last = tail + 1;
  append(l, is_mimo, w, in, last, head, s);
  const float decay = weigh_values(l, w.mimo_x, head, last, s);
  read_out(l, head, last, decay, s);
  for (std::int64_t r = 0; r < l.rank; ++r) {
    float* y = s.y + r * l.wide_p;
    for (std::int64_t p = 0; p < l.headdim; ++p) {
      y[p] += w.D * (w.mimo_x == nullptr ? in.x[p] : in.x[p] * w.mimo_x[r * l.headdim + p]);
    }
    gate_row(l, w, r, y, in.z, in.out);
  }
  if (folds) fold(l, decay, head, last, s);
}

void fold_tail(const Mamba3Layout& l, const float* mimo_x, std::int64_t tail, Mamba3Head head, float* block) {
  const StepScratch s(l, block);
  fold(l, weigh_values(l, mimo_x, head, tail, s), head, tail, s);
}

void turn_back(const Mamba3Layout& l, const float* rate, std::int64_t tail, Mamba3Head head, float* block) {
  const StepScratch s(l, block);
  std::copy_n(head.start, l.angles, head.theta);
  for (std::int64_t t = 0; t < tail; ++t) {
    turn(head.theta, rate + t * l.wide_s, head.dt[t], l.angles, s.cosine, s.sine, 1);
  }
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
HWY_EXPORT(fold_tail);
HWY_EXPORT(turn_back);
HWY_EXPORT(angle_rate);
HWY_EXPORT(sigmoids);
HWY_EXPORT(softpluses);

namespace cpu {

std::int64_t step_scratch(const Mamba3Layout& l) {
  const std::int64_t slots = 1 + l.chunk;
  return 2 * padded(l.angles) + padded(l.rank * l.wide_n) + padded(slots) + (2 + slots) * l.rank * l.wide_p +
         padded(l.rank * slots * l.rank);
}

void step_head(const Mamba3Layout& layout, bool is_mimo, const Mamba3HeadWeights& weights,
               const Mamba3Token& token, std::int64_t tail, bool folds, Mamba3Head head, float* scratch) {
  HWY_DYNAMIC_DISPATCH(step_head)(layout, is_mimo, weights, token, tail, folds, head, scratch);
}
void fold_tail(const Mamba3Layout& layout, const float* mimo_x, std::int64_t tail, Mamba3Head head,
               float* scratch) {
  HWY_DYNAMIC_DISPATCH(fold_tail)(layout, mimo_x, tail, head, scratch);
}
void turn_back(const Mamba3Layout& layout, const float* rate, std::int64_t tail, Mamba3Head head,
               float* scratch) {
  HWY_DYNAMIC_DISPATCH(turn_back)(layout, rate, tail, head, scratch);
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
