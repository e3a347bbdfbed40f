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
#include "hwy/cache_control.h"
#include "mixers/mamba3/head-inl.h"
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

using cpu::Mamba3Token;

// Scratch memory of one head.
struct Scratch {
  float *cosine, *sine;  // [S]
  float* q;              // [R, N']  rotated C of the token
  float* mimo_x;         // [R, P'], padded
  float* weight;         // [1 + C]  what each slot gives to the state after the last token
  float* v;              // [1 + C, R, P']  values times weight
  float* score;          // [R, (1 + C) R]  q k of each rank and slot
  float* y;              // [R, P']

  Scratch(const Mamba3Layout& l, float* block) {
    const auto next = [&block](std::int64_t n) {
      float* taken = block;
      block += padded(n);
      return taken;
    };
    const std::int64_t slots = 1 + l.chunk;
    cosine = next(l.angles), sine = next(l.angles);
    q = next(l.rank * l.wide_n), mimo_x = next(l.rank * l.wide_p);
    weight = next(slots), v = next(slots * l.rank * l.wide_p), score = next(l.rank * slots * l.rank);
    y = next(l.rank * l.wide_p);
  }
};

// How far ahead the state is fetched: it streams from memory, head after head, and hardware follows such a
// stream only within a page. Measured with 32 sessions of 187M: 1 to 4 KB alike, none a tenth slower.
constexpr std::int64_t kAhead = 2048 / sizeof(float);

// sum_n q[r, n] h[n, p] for kRanks ranks and kVectors vectors of p: each row of the state is read once and
// meets every rank in registers. Few sums are split over odd and even n, so that enough chains of fused
// multiply-adds are under way (latency times rate: 4 to 8).
template <int kRanks, int kVectors>
HWY_INLINE void read_columns(const Mamba3Layout& l, const float* h, const float* q, float* y) {
  const D d;
  const std::int64_t L = lanes();
  constexpr int kChains = kRanks * kVectors >= 8 ? 1 : 2;
  V sum[kChains][kRanks][kVectors];
  for (int c = 0; c < kChains; ++c) {
    for (int r = 0; r < kRanks; ++r) {
      for (int v = 0; v < kVectors; ++v) sum[c][r][v] = hn::Zero(d);
    }
  }
  for (std::int64_t n = 0; n < l.d_state; n += kChains) {
    for (int c = 0; c < kChains; ++c, h += l.wide_p) {
      V row[kVectors];
      for (int v = 0; v < kVectors; ++v) row[v] = hn::Load(d, h + v * L);
      for (std::int64_t ahead = 0; ahead < kVectors * L; ahead += kPadding) hwy::Prefetch(h + kAhead + ahead);
      for (int r = 0; r < kRanks; ++r) {
        const V left = hn::Set(d, q[r * l.wide_n + n + c]);
        for (int v = 0; v < kVectors; ++v) sum[c][r][v] = hn::MulAdd(left, row[v], sum[c][r][v]);
      }
    }
  }
  for (int r = 0; r < kRanks; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      const V all = kChains == 1 ? sum[0][r][v] : hn::Add(sum[0][r][v], sum[kChains - 1][r][v]);
      hn::Store(all, d, y + r * l.wide_p + v * L);
    }
  }
}

// The sums of kRanks ranks and a row of the state stay in registers: 16 + 4 of 32 with AVX-512, else 8 + 2.
template <int kRanks>
HWY_INLINE void read_state(const Mamba3Layout& l, const float* h, const float* q, float* y) {
  constexpr int kMost = HWY_TARGET <= HWY_AVX3 ? 4 : 8 / kRanks;
  const std::int64_t L = lanes();
  std::int64_t p = 0;
  for (; p + kMost * L <= l.wide_p; p += kMost * L) read_columns<kRanks, kMost>(l, h + p, q, y + p);
  for (; p + 2 * L <= l.wide_p; p += 2 * L) read_columns<kRanks, 2>(l, h + p, q, y + p);
  for (; p < l.wide_p; p += L) read_columns<kRanks, 1>(l, h + p, q, y + p);
}

// score[r, i] = q[r] k[i] for the R keys of one slot.
template <int kRanks>
HWY_INLINE void score_slot(const Mamba3Layout& l, const float* q, const float* k, std::int64_t stride,
                           float* score) {
  const D d;
  const std::int64_t L = lanes();
  for (std::int64_t i = 0; i < l.rank; ++i, k += l.wide_n) {
    V sum[kRanks];
    for (int r = 0; r < kRanks; ++r) sum[r] = hn::Zero(d);
    for (std::int64_t n = 0; n < l.wide_n; n += L) {
      const V right = hn::Load(d, k + n);
      for (int r = 0; r < kRanks; ++r) sum[r] = hn::MulAdd(hn::Load(d, q + r * l.wide_n + n), right, sum[r]);
    }
    for (int r = 0; r < kRanks; ++r) score[r * stride + i] = hn::GetLane(hn::SumOfLanes(d, sum[r]));
  }
}

// y[r] = decay y[r] + sum_i score[r, i] v[i] for `count` values.
template <int kRanks>
HWY_INLINE void add_values(const Mamba3Layout& l, float decay, const float* score, std::int64_t stride,
                           const float* v, std::int64_t count, float* y) {
  const D d;
  const std::int64_t L = lanes();
  for (std::int64_t p = 0; p < l.wide_p; p += L) {
    V sum[kRanks];
    for (int r = 0; r < kRanks; ++r) sum[r] = hn::Mul(hn::Set(d, decay), hn::Load(d, y + r * l.wide_p + p));
    for (std::int64_t i = 0; i < count; ++i) {
      const V right = hn::Load(d, v + i * l.wide_p + p);
      for (int r = 0; r < kRanks; ++r) sum[r] = hn::MulAdd(hn::Set(d, score[r * stride + i]), right, sum[r]);
    }
    for (int r = 0; r < kRanks; ++r) hn::Store(sum[r], d, y + r * l.wide_p + p);
  }
}

// y of kRanks ranks from r on: the decayed checkpoint, and what the slots 0 to `last` hold.
template <int kRanks>
HWY_INLINE void read_ranks(const Mamba3Layout& l, const Mamba3Head& head, std::int64_t last, float decay,
                           std::int64_t r, const Scratch& s) {
  const std::int64_t stride = (1 + l.chunk) * l.rank;
  const float* q = s.q + r * l.wide_n;
  float *score = s.score + r * stride, *y = s.y + r * l.wide_p;
  for (std::int64_t slot = 0; slot <= last; ++slot) {
    score_slot<kRanks>(l, q, head.k(slot), stride, score + slot * l.rank);
  }
  read_state<kRanks>(l, head.h, q, y);
  add_values<kRanks>(l, decay, score, stride, s.v, (last + 1) * l.rank, y);
}

// Ranks in groups of four, two and one.
void read_out(const Mamba3Layout& l, const Mamba3Head& head, std::int64_t last, float decay,
              const Scratch& s) {
  std::int64_t r = 0;
  for (; r + 4 <= l.rank; r += 4) read_ranks<4>(l, head, last, decay, r, s);
  for (; r + 2 <= l.rank; r += 2) read_ranks<2>(l, head, last, decay, r, s);
  for (; r < l.rank; ++r) read_ranks<1>(l, head, last, decay, r, s);
}

// What slots 0 to `last` give to the state after the last token: the decay on the way, times lambda dt of the
// token itself (in slot 0 that lies in the checkpoint already) and (1 - lambda) dt of the token behind it.
// Returns the decay of the checkpoint. Slot i + 1 is the tail's token i.
HWY_INLINE float weigh_slots(const Mamba3Head& head, std::int64_t last, float* weight) {
  float reach = 1;
  weight[last] = head.own[last - 1];
  for (std::int64_t slot = last - 1; slot >= 0; --slot) {
    reach *= head.alpha[slot];
    weight[slot] = reach * ((slot > 0 ? head.own[slot - 1] : 0) + head.before[slot]);
  }
  return reach;
}

// v[slot, r] = weight x mimo_x[r]; mimo_x is null for SISO. Returns the decay of the checkpoint.
HWY_INLINE float weigh_values(const Mamba3Layout& l, const float* mimo_x, const Mamba3Head& head,
                              std::int64_t last, const Scratch& s) {
  const D d;
  const std::int64_t L = lanes();
  const float decay = weigh_slots(head, last, s.weight);
  for (std::int64_t r = 0; mimo_x != nullptr && r < l.rank; ++r) {
    float* row = s.mimo_x + r * l.wide_p;
    std::fill(std::copy_n(mimo_x + r * l.headdim, l.headdim, row), row + l.wide_p, 0.0f);
  }
  float* v = s.v;
  for (std::int64_t slot = 0; slot <= last; ++slot) {
    const V weight = hn::Set(d, s.weight[slot]);
    for (std::int64_t r = 0; r < l.rank; ++r, v += l.wide_p) {
      for (std::int64_t p = 0; p < l.wide_p; p += L) {
        const V x = hn::Mul(weight, hn::Load(d, head.x(slot) + p));
        hn::Store(mimo_x == nullptr ? x : hn::Mul(x, hn::Load(d, s.mimo_x + r * l.wide_p + p)), d, v + p);
      }
    }
  }
  return decay;
}

// h = decay h + sum_i k[i] v[i] over slots and ranks, for kRows rows and kVectors vectors of the state.
template <int kRows, int kVectors>
HWY_INLINE void fold_tile(const Mamba3Layout& l, float decay, const float* k, const float* v,
                          std::int64_t last, float* h) {
  const D d;
  const std::int64_t L = lanes();
  V sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) {
      sum[i][j] = hn::Mul(hn::Set(d, decay), hn::Load(d, h + i * l.wide_p + j * L));
    }
  }
  for (std::int64_t slot = 0; slot <= last; ++slot, k += l.token) {
    for (std::int64_t r = 0; r < l.rank; ++r, v += l.wide_p) {
      V right[kVectors];
      for (int j = 0; j < kVectors; ++j) right[j] = hn::Load(d, v + j * L);
      for (int i = 0; i < kRows; ++i) {
        const V left = hn::Set(d, k[r * l.wide_n + i]);
        for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::MulAdd(left, right[j], sum[i][j]);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) hn::Store(sum[i][j], d, h + i * l.wide_p + j * L);
  }
}

template <int kRows>
HWY_INLINE void fold_rows(const Mamba3Layout& l, float decay, const Mamba3Head& head, std::int64_t n,
                          std::int64_t last, const Scratch& s) {
  const std::int64_t L = lanes();
  float* h = head.h + n * l.wide_p;
  std::int64_t p = 0;
  for (; p + kTileVectors * L <= l.wide_p; p += kTileVectors * L) {
    fold_tile<kRows, kTileVectors>(l, decay, head.k(0) + n, s.v + p, last, h + p);
  }
  for (; p < l.wide_p; p += L) fold_tile<kRows, 1>(l, decay, head.k(0) + n, s.v + p, last, h + p);
}

// The state after slot `last` becomes the checkpoint. Needs v.
void fold(const Mamba3Layout& l, float decay, const Mamba3Head& head, std::int64_t last, const Scratch& s) {
  std::int64_t n = 0;
  for (; n + kTileRows <= l.d_state; n += kTileRows) fold_rows<kTileRows>(l, decay, head, n, last, s);
  for (; n < l.d_state; ++n) fold_rows<1>(l, decay, head, n, last, s);
  std::copy_n(head.k(last), l.token, head.k(0));
  std::copy_n(head.theta, l.angles, head.start);
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

// Puts the token into the tail's slot `last`, and its q into scratch.
HWY_INLINE void append(const Mamba3Layout& l, bool is_mimo, const Mamba3HeadWeights& w, const Mamba3Token& in,
                       std::int64_t last, const Mamba3Head& head, const Scratch& s) {
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
  const Scratch s(l, block);
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
  const Scratch s(l, block);
  fold(l, weigh_values(l, mimo_x, head, tail, s), head, tail, s);
}

void turn_back(const Mamba3Layout& l, const float* rate, std::int64_t tail, Mamba3Head head, float* block) {
  const Scratch s(l, block);
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
