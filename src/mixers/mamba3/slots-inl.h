// What a single step does with one head's slots, the checkpoint's last token and those of the tail: their
// weights, the read-out over checkpoint and tail, and the folding. Included once per instruction set.

#if defined(MAMBA3_MIXERS_MAMBA3_SLOTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MAMBA3_MIXERS_MAMBA3_SLOTS_INL_H_
#undef MAMBA3_MIXERS_MAMBA3_SLOTS_INL_H_
#else
#define MAMBA3_MIXERS_MAMBA3_SLOTS_INL_H_
#endif

#include <algorithm>

#include "hwy/cache_control.h"
#include "mixers/mamba3/layout.h"
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

// Scratch memory of one head.
struct StepScratch {
  float *cosine, *sine;  // [S]
  float* q;              // [R, N']  rotated C of the token
  float* mimo_x;         // [R, P'], padded
  float* weight;         // [1 + C]  what each slot gives to the state after the last token
  float* v;              // [1 + C, R, P']  values times weight
  float* score;          // [R, (1 + C) R]  q k of each rank and slot
  float* y;              // [R, P']

  StepScratch(const Mamba3Layout& l, float* block) {
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
// stream only within a page. 0.5 to 8 KB cannot be told apart on a busy machine; 4 KB is a page.
constexpr std::int64_t kAhead = 4096 / sizeof(float);

// What the next head will need besides its state, fetched line by line while this head's state is read.
struct Fetch {
  const float* from;
  std::int64_t lines;

  HWY_INLINE void line(std::int64_t i) const {
    if (i < lines) hwy::Prefetch(from + i * kPadding);
  }
};

// sum_n q[r, n] h[n, p] for kRanks ranks and kVectors vectors of p: each row of the state is read once and
// meets every rank in registers. Few sums are split over odd and even n, so that enough chains of fused
// multiply-adds are under way (latency times rate: 4 to 8).
template <int kRanks, int kVectors>
HWY_INLINE void read_columns(const Mamba3Layout& l, const float* h, const float* q, const Fetch& fetch,
                             float* y) {
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
    fetch.line(n);
    if (kChains == 2) fetch.line(n + 1);
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
HWY_INLINE void read_state(const Mamba3Layout& l, const float* h, const float* q, const Fetch& fetch,
                           float* y) {
  constexpr int kMost = HWY_TARGET <= HWY_AVX3 ? 4 : 8 / kRanks;
  const std::int64_t L = lanes();
  std::int64_t p = 0;
  for (; p + kMost * L <= l.wide_p; p += kMost * L) read_columns<kRanks, kMost>(l, h + p, q, fetch, y + p);
  for (; p + 2 * L <= l.wide_p; p += 2 * L) read_columns<kRanks, 2>(l, h + p, q, fetch, y + p);
  for (; p < l.wide_p; p += L) read_columns<kRanks, 1>(l, h + p, q, fetch, y + p);
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
                           std::int64_t r, const StepScratch& s) {
  const std::int64_t stride = (1 + l.chunk) * l.rank;
  const float* q = s.q + r * l.wide_n;
  float *score = s.score + r * stride, *y = s.y + r * l.wide_p;
  for (std::int64_t slot = 0; slot <= last; ++slot) {
    score_slot<kRanks>(l, q, head.k(slot), stride, score + slot * l.rank);
  }
  const Fetch fetch{head.k(1 + l.chunk), (last + 1) * l.token / kPadding};
  read_state<kRanks>(l, head.h, q, fetch, y);
  add_values<kRanks>(l, decay, score, stride, s.v, (last + 1) * l.rank, y);
}

// Ranks in groups of four, two and one.
HWY_INLINE void read_out(const Mamba3Layout& l, const Mamba3Head& head, std::int64_t last, float decay,
                         const StepScratch& s) {
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
                              std::int64_t last, const StepScratch& s) {
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
      hwy::Prefetch(h + (l.d_state + i) * l.wide_p + j * L);  // the next head: memory has nothing else to do
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
                          std::int64_t last, const StepScratch& s) {
  const std::int64_t L = lanes();
  float* h = head.h + n * l.wide_p;
  std::int64_t p = 0;
  for (; p + kTileVectors * L <= l.wide_p; p += kTileVectors * L) {
    fold_tile<kRows, kTileVectors>(l, decay, head.k(0) + n, s.v + p, last, h + p);
  }
  for (; p < l.wide_p; p += L) fold_tile<kRows, 1>(l, decay, head.k(0) + n, s.v + p, last, h + p);
}

// The state after slot `last` becomes the checkpoint. Needs v.
HWY_INLINE void fold(const Mamba3Layout& l, float decay, const Mamba3Head& head, std::int64_t last,
                     const StepScratch& s) {
  std::int64_t n = 0;
  for (; n + kTileRows <= l.d_state; n += kTileRows) fold_rows<kTileRows>(l, decay, head, n, last, s);
  for (; n < l.d_state; ++n) fold_rows<1>(l, decay, head, n, last, s);
  std::copy_n(head.k(last), l.token, head.k(0));
  std::copy_n(head.theta, l.angles, head.start);
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#endif
