// The tokens of one head, chunk by chunk.
#include <algorithm>

#include "mixers/mamba3/kernels_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mixers/mamba3/chunk_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "hwy/cache_control.h"
#include "mixers/mamba3/chunk-inl.h"
#include "ops/simd/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

// Rows of the state that are joined, read out and moved on before the next ones: with the values and y they
// stay in the first-level cache.
constexpr std::int64_t kStateRows = 32;

// Puts the stretch's tokens into the chunk and its tail's small values.
void take_in(const Mamba3Layout& l, bool is_mimo, const Mamba3HeadWeights& w, const Mamba3Stretch& in,
             std::int64_t tail, const Mamba3Head& head, const Chunk& s) {
  for (std::int64_t i = 0; i < in.count; ++i) {
    const float dt = in.dt[i * in.head_stride], lambda = in.lambda[i * in.head_stride];
    head.alpha[tail + i] = in.adt[i * in.head_stride];
    head.own[tail + i] = lambda * dt;
    head.before[tail + i] = (1 - lambda) * dt;
    head.dt[tail + i] = dt;
    fill_values(l, w.mimo_x, in.x + i * in.zx_stride, s.v + (in.slot + i) * l.rank * l.wide_p);
  }
  transform(head.alpha + tail, in.count, head.alpha + tail, [](V v) { return hn::Exp(D(), v); });
  turn_tokens(l, in, head.theta, s);
  l.rank == 1 ? rotate_rows<true>(l, is_mimo, in, s) : rotate_rows<false>(l, is_mimo, in, s);
}

// y = q h0 for the chunk's rows [first, last), h0 = h + (1 - lambda_0) dt_0 k_prev v_prev being the
// checkpoint with the term that joins two chunks. With `completes` h becomes the state after the chunk. The
// state is read, joined and moved on by kStateRows rows, without leaving the first-level cache.
void meet_state(const Mamba3Layout& l, const float* mimo_x, std::int64_t first, std::int64_t last,
                bool completes, const Mamba3Head& head, const Chunk& s) {
  const D d;
  const std::int64_t N = l.d_state, P = l.wide_p, M = s.wide;
  fill_values(l, mimo_x, head.x(0), s.v_before);
  scale(s.v_before, head.before[0], l.rank * P);
  float* h0 = completes ? head.h : s.h0;
  const V total = hn::Set(d, s.decay[s.rows - 1]);
  for (std::int64_t n = 0; n < N; n += kStateRows) {
    const std::int64_t count = std::min(kStateRows, N - n);
    each_tile(count, P, [&](auto tile, std::int64_t i, std::int64_t j) {
      const std::int64_t at = (n + i) * P + j;
      tile.load(head.h + at, P);
      tile.add_product(head.k(0) + n + i, 1, l.wide_n, s.v_before + j, P, l.rank);
      tile.store(h0 + at, P);
    });
    each_tile(last - first, P, [&](auto tile, std::int64_t i, std::int64_t j) {
      float* y = s.y + (first + i) * P + j;
      n == 0 ? tile.clear() : tile.load(y, P);
      tile.add_product(s.q + n * M + first + i, 1, M, h0 + n * P + j, P, count);
      tile.store(y, P);
    });
    if (!completes) continue;
    each_tile(count, P, [&](auto tile, std::int64_t i, std::int64_t j) {
      float* h = h0 + (n + i) * P + j;
      tile.load(h, P);
      tile.each([&](V& sum, int, std::int64_t) { sum = hn::Mul(total, sum); });
      tile.add_product(s.k + (n + i) * M, M, 1, s.v_last + j, P, s.rows);
      tile.store(h, P);
    });
  }
}

// y = decay y + weighted scores times values + D v, for the rows [first, last) of the chunk. `first` and the
// tiles are aligned to the chunk, and how far a tile looks back depends on its place alone.
void attend(const Mamba3Layout& l, float skip, std::int64_t first, std::int64_t last, const Chunk& s) {
  const D d;
  const std::int64_t P = l.wide_p, M = s.wide;
  const auto seen = [&](std::int64_t row) { return (row / l.rank + 1) * l.rank; };
  for (std::int64_t b = first; b < last; b += kPadding) {
    const std::int64_t rows = std::min(kPadding, last - b);
    each_tile(rows, padded(seen(b + rows - 1)), [&](auto tile, std::int64_t i, std::int64_t j) {
      tile.clear();
      tile.add_product(s.q + b + i, 1, M, s.k + j, M, l.d_state);
      tile.each([&](V& sum, int row, std::int64_t at) {
        const float* weight = s.weight + (b + i + row) / l.rank * M + j + at;
        hn::Store(hn::Mul(sum, hn::Load(d, weight)), d, s.scores + (i + row) * M + j + at);
      });
    });
    each_tile(rows, P, [&](auto tile, std::int64_t i, std::int64_t j) {
      float* y = s.y + (b + i) * P + j;
      tile.load(y, P);
      tile.each([&](V& sum, int row, std::int64_t) { sum = hn::Mul(hn::Set(d, s.decay[b + i + row]), sum); });
      tile.add_product(s.scores + i * M, M, 1, s.v + j, P, seen(b + i + tile.rows - 1));
      const float* v = s.v + (b + i) * P + j;
      tile.each([&](V& sum, int row, std::int64_t at) {
        sum = hn::MulAdd(hn::Set(d, skip), hn::Load(d, v + row * P + at), sum);
      });
      tile.store(y, P);
    });
  }
}

// Values times what reaches the end of the chunk.
void weigh_last(const Mamba3Layout& l, const Chunk& s) {
  const D d;
  const float* last = s.weight + (l.chunk - 1) * s.wide;
  for (std::int64_t m = 0; m < s.rows; ++m) {
    for (std::int64_t p = 0; p < l.wide_p; p += lanes()) {
      hn::Store(hn::Mul(hn::Set(d, last[m]), hn::Load(d, s.v + m * l.wide_p + p)), d,
                s.v_last + m * l.wide_p + p);
    }
  }
}

HWY_INLINE void prefetch(const float* row, std::int64_t width) {
  constexpr std::int64_t kLine = 16;
  for (std::int64_t p = 0; p < width; p += kLine) hwy::Prefetch(row + p);
}

// Gates the stretch's tokens; `left` tokens, these included, are still to come.
void give_out(const Mamba3Layout& l, const Mamba3HeadWeights& w, const Mamba3Stretch& in, std::int64_t left,
              const Chunk& s) {
  // Rows of one head lie a page apart, where no hardware prefetcher follows.
  constexpr std::int64_t kAhead = 4;
  for (std::int64_t i = 0; i < in.count; ++i) {
    if (i + kAhead < left) {
      prefetch(in.z + (i + kAhead) * in.zx_stride, l.headdim);
      prefetch(in.out + (i + kAhead) * in.out_stride, l.headdim);
    }
    if (in.count + i < left) prefetch(in.x + (in.count + i) * in.zx_stride, l.headdim);
    float* y = s.y + (in.slot + i) * l.rank * l.wide_p;
    for (std::int64_t r = 0; in.y != nullptr && r < l.rank; ++r)
      std::copy_n(y + r * l.wide_p, l.headdim, in.y + i * in.y_token + r * in.y_rank);
    gate_token(l, w, y, in.z + i * in.zx_stride, in.out + i * in.out_stride);
  }
}

// A stretch that stays within one chunk.
void run_chunk(const Mamba3Layout& l, bool is_mimo, const Mamba3HeadWeights& w, const Mamba3Stretch& in,
               std::int64_t tail, std::int64_t left, const Mamba3Head& head, const Chunk& s) {
  const std::int64_t end = in.slot + in.count;
  const bool completes = end == l.chunk;
  take_in(l, is_mimo, w, in, tail, head, s);
  if (in.count < l.chunk) open_tail(l, w.mimo_x, head, tail, in.start, end, s);
  weigh(l, head, in.start, end, s);
  if (completes) weigh_last(l, s);
  const std::int64_t first = in.slot * l.rank / kPadding * kPadding;
  const std::int64_t last = std::min(padded(end * l.rank), s.rows);
  meet_state(l, w.mimo_x, first, last, completes, head, s);
  attend(l, w.D, first, last, s);
  give_out(l, w, in, left, s);
  if (completes) {
    keep_token(l, l.chunk - 1, in.x + (in.count - 1) * in.zx_stride, 0, head, s);
    std::copy_n(head.theta, l.angles, head.start);
    return;
  }
  for (std::int64_t i = 0; i < in.count; ++i)
    keep_token(l, in.slot + i, in.x + i * in.zx_stride, 1 + tail + i, head, s);
}

std::int64_t chunk_floats(const Mamba3Layout& l) {
  return Chunk(l, nullptr).size;
}

void run_tokens(const Mamba3Layout& l, bool is_mimo, const Mamba3HeadWeights& w, const Mamba3Stretch& all,
                std::int64_t tail, Mamba3Head head, float* block) {
  const Chunk s(l, block);
  spread_bias(l, w.B_bias, s, s.B_bias);
  spread_bias(l, w.C_bias, s, s.C_bias);
  Mamba3Stretch in = all;
  for (std::int64_t left = all.count; left > 0; left -= in.count) {
    in.count = std::min(left, l.chunk - in.slot);
    run_chunk(l, is_mimo, w, in, tail, left, head, s);
    tail = in.start = in.slot = 0;
    in.B += in.chunk_stride, in.C += in.chunk_stride;
    in.rate += in.count * l.wide_s;
    in.adt += in.count * in.head_stride, in.dt += in.count * in.head_stride;
    in.lambda += in.count * in.head_stride;
    in.x += in.count * in.zx_stride, in.z += in.count * in.zx_stride;
    in.out += in.count * in.out_stride;
    if (in.y != nullptr) in.y += in.count * in.y_token;
  }
}

void transpose_chunk(const Mamba3Layout& l, std::int64_t groups, const float* from, std::int64_t stride,
                     float* to) {
  const std::int64_t N = l.d_state, rows = l.chunk * l.rank, wide = padded(rows);
  for (std::int64_t g = 0; g < groups; ++g) {
    for (std::int64_t m = 0; m < rows; m += 4) {
      const float* four[4];
      for (std::int64_t i = 0; i < 4; ++i)
        four[i] = from + (m + i) / l.rank * stride + ((m + i) % l.rank * groups + g) * N;
      float* column = to + g * N * wide + m;
      std::int64_t n = 0;
      for (; n + 4 <= N; n += 4) {
        const float* const at[4] = {four[0] + n, four[1] + n, four[2] + n, four[3] + n};
        transpose_4x4(at, column + n * wide, wide);
      }
      for (; n < N; ++n) {
        for (std::int64_t i = 0; i < 4; ++i) column[n * wide + i] = four[i][n];
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(run_tokens);
HWY_EXPORT(transpose_chunk);
HWY_EXPORT(chunk_floats);

namespace cpu {

std::int64_t head_scratch(const Mamba3Layout& l) {
  return HWY_DYNAMIC_DISPATCH(chunk_floats)(l);
}

void run_tokens(const Mamba3Layout& layout, bool is_mimo, const Mamba3HeadWeights& weights,
                const Mamba3Stretch& stretch, std::int64_t tail, Mamba3Head head, float* scratch) {
  HWY_DYNAMIC_DISPATCH(run_tokens)(layout, is_mimo, weights, stretch, tail, head, scratch);
}

void transpose_chunk(const Mamba3Layout& layout, std::int64_t groups, const float* from, std::int64_t stride,
                     float* to) {
  HWY_DYNAMIC_DISPATCH(transpose_chunk)(layout, groups, from, stride, to);
}

}  // namespace cpu
}  // namespace mamba3
#endif
