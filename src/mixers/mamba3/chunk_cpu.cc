// A stretch of tokens of one head within one chunk.
#include "mixers/mamba3/kernels_cpu.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "mixers/mamba3/chunk_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "mixers/mamba3/head-inl.h"
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

using cpu::Mamba3Stretch;

// Scratch memory of one head, carved from one block. Sizes as in head_scratch().
struct Scratch {
  float* k;       // [R, N, C']  rotated B of the chunk's tokens, tokens innermost
  float* q;       // [R, N, C']  rotated C of the stretch
  float* cosine;  // [S, C']
  float* sine;    // [S, C']
  float* weight;  // [C, C']  what token s gives to token t
  float* decay;   // [C']     from the chunk's start to after token t
  float* last;    // [C']     decay from token s to the end, times its weight
  float* h0;      // [N, P']  the checkpoint with the boundary term
  float* v;       // [R, C, P']  values
  float* scores;  // [C, C']
  float* y;       // [C, P']

  Scratch(const Mamba3Layout& l, float* block) {
    const auto next = [&block](std::int64_t n) {
      float* taken = block;
      block += n;
      return taken;
    };
    k = next(l.rank * l.d_state * l.wide_c), q = next(l.rank * l.d_state * l.wide_c);
    cosine = next(l.angles * l.wide_c), sine = next(l.angles * l.wide_c);
    weight = next(l.wide_c * l.wide_c), scores = next(l.wide_c * l.wide_c);
    decay = next(l.wide_c), last = next(l.wide_c);
    h0 = next(l.wide_n * l.wide_p);  // a product's last tile of rows may reach beyond N
    v = next(l.rank * l.wide_c * l.wide_p);
    y = next(l.wide_c * l.wide_p);
  }
};

// Rotated (B or C + bias) for tokens [from, to) of a chunk: rows n of [N, C'], pairs (2s, 2s+1) or (s, s +
// N/2).
void rotate_rows(const Mamba3Layout& l, bool is_mimo, const float* normed, const float* bias,
                 const float* cosine, const float* sine, std::int64_t from, std::int64_t to, float* out) {
  const std::int64_t half = l.d_state / 2;
  for (std::int64_t pair = 0; pair < half; ++pair) {
    const std::int64_t i = is_mimo ? pair : 2 * pair, j = is_mimo ? pair + half : 2 * pair + 1;
    const float *a = normed + i * l.wide_c, *b = normed + j * l.wide_c;
    float *a_out = out + i * l.wide_c, *b_out = out + j * l.wide_c;
    const float a_bias = bias[i], b_bias = bias[j];
    if (pair < l.angles) {
      const float *c = cosine + pair * l.wide_c, *s = sine + pair * l.wide_c;
      for (std::int64_t t = from; t < to; ++t) {
        const float left = a[t] + a_bias, right = b[t] + b_bias;
        a_out[t] = left * c[t] - right * s[t];
        b_out[t] = left * s[t] + right * c[t];
      }
    } else {
      for (std::int64_t t = from; t < to; ++t) {
        a_out[t] = a[t] + a_bias;
        b_out[t] = b[t] + b_bias;
      }
    }
  }
}

// v[r, t, p] = x[p] (* mimo_x[r, p]) of token t.
void fill_values(const Mamba3Layout& l, const float* mimo_x, const float* x, std::int64_t t, float* v) {
  for (std::int64_t r = 0; r < l.rank; ++r) {
    float* row = v + (r * l.wide_c + t) * l.wide_p;
    std::fill(row + l.headdim, row + l.wide_p, 0.0f);
    for (std::int64_t p = 0; p < l.headdim; ++p) {
      row[p] = mimo_x == nullptr ? x[p] : x[p] * mimo_x[r * l.headdim + p];
    }
  }
}

// The checkpoint with the term that joins two chunks: h + (1 - lambda_0) dt_0 k_prev v_prev.
void join(const Mamba3Layout& l, const float* mimo_x, const Mamba3Head& head, float* h0) {
  const D d;
  const std::int64_t L = lanes();
  const float before = head.before[0];
  for (std::int64_t n = 0; n < l.d_state; ++n) {
    for (std::int64_t p = 0; p < l.wide_p; p += L) {
      V sum = hn::LoadU(d, head.h + n * l.wide_p + p);
      for (std::int64_t r = 0; r < l.rank; ++r) {
        const V k = hn::Set(d, before * head.k(0)[r * l.wide_n + n]);
        V v = hn::LoadU(d, head.x(0) + p);
        if (mimo_x != nullptr) {
          HWY_ALIGN float row[kPadding] = {};
          std::copy_n(mimo_x + r * l.headdim + p, std::min(L, l.headdim - p), row);
          v = hn::Mul(v, hn::Load(d, row));
        }
        sum = hn::MulAdd(k, v, sum);
      }
      hn::Store(sum, d, h0 + n * l.wide_p + p);
    }
  }
}

// Decays by products of alpha, one token after the other: no difference of large sums, so a strong decay
// loses nothing and never overflows. Fills weight rows [from, to) (zero above the diagonal), decay[t] for t <
// to, and what reaches the end of the chunk's first `to` tokens (`last`).
void weigh(const Mamba3Layout& l, const Mamba3Head& head, std::int64_t from, std::int64_t to,
           const Scratch& s) {
  HWY_ALIGN float reach[kBlockRows + kPadding] = {};  // decay from token s to token t
  float total = 1;
  for (std::int64_t t = 0; t < to; ++t) {
    const float alpha = head.alpha[t];
    total *= alpha;
    s.decay[t] = total;
    for (std::int64_t i = 0; i < t; ++i) reach[i] *= alpha;
    reach[t] = 1;
    if (t < from) continue;
    float* row = s.weight + t * l.wide_c;
    std::fill_n(row, l.wide_c, 0.0f);
    for (std::int64_t i = 0; i < t; ++i) row[i] = reach[i] * (head.own[i] + head.before[i + 1]);
    row[t] = head.own[t];
  }
  // The last token's row is what reaches the end, its own weight included.
  std::copy_n(s.weight + (to - 1) * l.wide_c, l.wide_c, s.last);
}

// The state after the chunk's first `count` tokens becomes the checkpoint. Needs h0, v, decay and last.
void advance(const Mamba3Layout& l, std::int64_t count, const float* last_x, const Mamba3Head& head,
             const Scratch& s) {
  const float total = s.decay[count - 1];
  for (std::int64_t i = 0; i < l.d_state * l.wide_p; ++i) s.h0[i] *= total;
  for (std::int64_t r = 0; r < l.rank; ++r) {
    float* v = s.v + r * l.wide_c * l.wide_p;
    for (std::int64_t t = 0; t < count; ++t) {
      for (std::int64_t p = 0; p < l.wide_p; ++p) v[t * l.wide_p + p] *= s.last[t];
    }
    const float* k = s.k + r * l.d_state * l.wide_c;
    small_product(l.d_state, l.wide_p, count, k, l.wide_c, 1, v, l.wide_p, s.h0, l.wide_p, true);
    for (std::int64_t n = 0; n < l.d_state; ++n) head.k(0)[r * l.wide_n + n] = k[n * l.wide_c + count - 1];
  }
  std::copy_n(s.h0, l.d_state * l.wide_p, head.h);
  std::copy_n(last_x, l.headdim, head.x(0));
  std::copy_n(head.theta, l.angles, head.start);
}

// The tail's tokens as a chunk has them.
void open_tail(const Mamba3Layout& l, const float* mimo_x, std::int64_t tail, const Mamba3Head& head,
               const Scratch& s) {
  for (std::int64_t t = 0; t < tail; ++t) {
    fill_values(l, mimo_x, head.x(1 + t), t, s.v);
    for (std::int64_t r = 0; r < l.rank; ++r) {
      const float* k = head.k(1 + t) + r * l.wide_n;
      for (std::int64_t n = 0; n < l.d_state; ++n) s.k[(r * l.d_state + n) * l.wide_c + t] = k[n];
    }
  }
}

// The stretch's tokens for the next call.
void keep_tail(const Mamba3Layout& l, const Mamba3Stretch& in, std::int64_t tail, const Mamba3Head& head,
               const Scratch& s) {
  for (std::int64_t i = 0; i < in.count; ++i) {
    const std::int64_t t = tail + i;
    std::copy_n(in.x + i * in.zx_stride, l.headdim, head.x(1 + t));
    for (std::int64_t r = 0; r < l.rank; ++r) {
      float* k = head.k(1 + t) + r * l.wide_n;
      for (std::int64_t n = 0; n < l.d_state; ++n) k[n] = s.k[(r * l.d_state + n) * l.wide_c + t];
    }
  }
}

// Takes the stretch's tokens in: alpha, own, before, dt, angles; values, k and q in scratch.
void take_in(const Mamba3Layout& l, bool is_mimo, const Mamba3HeadWeights& w, const Mamba3Stretch& in,
             std::int64_t tail, const Mamba3Head& head, const Scratch& s) {
  for (std::int64_t i = 0; i < in.count; ++i) {
    const std::int64_t t = tail + i;
    const float dt = in.dt[i * in.head_stride], lambda = in.lambda[i * in.head_stride];
    head.alpha[t] = in.adt[i * in.head_stride];
    head.own[t] = lambda * dt;
    head.before[t] = (1 - lambda) * dt;
    head.dt[t] = dt;
    fill_values(l, w.mimo_x, in.x + i * in.zx_stride, t, s.v);
    turn(head.theta, in.rate + i * l.wide_s, dt, l.angles, s.cosine + t, s.sine + t, l.wide_c);
  }
  transform(head.alpha + tail, in.count, head.alpha + tail, [](V v) { return hn::Exp(D(), v); });
  const std::int64_t end = tail + in.count;
  for (std::int64_t r = 0; r < l.rank; ++r) {
    const std::int64_t at = r * l.d_state;
    rotate_rows(l, is_mimo, in.B + r * in.group_stride, w.B_bias + at, s.cosine, s.sine, tail, end,
                s.k + at * l.wide_c);
    rotate_rows(l, is_mimo, in.C + r * in.group_stride, w.C_bias + at, s.cosine, s.sine, tail, end,
                s.q + at * l.wide_c);
  }
}

// y of rank r for the chunk's rows [first, first + rows), both multiples of kTileRows: decayed start state,
// then masked linear attention over all ranks.
void read_out(const Mamba3Layout& l, std::int64_t r, std::int64_t first, std::int64_t rows,
              const Scratch& s) {
  const float* q = s.q + r * l.d_state * l.wide_c + first;
  small_product(rows, l.wide_p, l.d_state, q, 1, l.wide_c, s.h0, l.wide_p, s.y + first * l.wide_p, l.wide_p,
                false);
  for (std::int64_t t = first; t < first + rows; ++t) {
    for (std::int64_t p = 0; p < l.wide_p; ++p) s.y[t * l.wide_p + p] *= s.decay[t];
  }
  // Tokens that a row of this tile can see, in whole vectors: the same for a row wherever a call begins or
  // ends.
  for (std::int64_t i = first; i < first + rows; i += kTileRows) {
    const std::int64_t seen = padded(i + kTileRows);
    for (std::int64_t other = 0; other < l.rank; ++other) {
      const float* k = s.k + other * l.d_state * l.wide_c;
      small_product(kTileRows, seen, l.d_state, q + (i - first), 1, l.wide_c, k, l.wide_c, s.scores, l.wide_c,
                    false);
      for (std::int64_t t = 0; t < kTileRows; ++t) {
        const float* weight = s.weight + (i + t) * l.wide_c;
        float* score = s.scores + t * l.wide_c;
        for (std::int64_t j = 0; j < seen; ++j) score[j] *= weight[j];
      }
      small_product(kTileRows, l.wide_p, seen, s.scores, l.wide_c, 1, s.v + other * l.wide_c * l.wide_p,
                    l.wide_p, s.y + i * l.wide_p, l.wide_p, true);
    }
  }
}

void run_stretch(const Mamba3Layout& l, bool is_mimo, const Mamba3HeadWeights& w, const Mamba3Stretch& in,
                 std::int64_t tail, Mamba3Head head, float* block) {
  const Scratch s(l, block);
  const std::int64_t end = tail + in.count;
  open_tail(l, w.mimo_x, tail, head, s);
  take_in(l, is_mimo, w, in, tail, head, s);
  // Tokens beyond `end` are read with weight zero: they must be numbers.
  for (std::int64_t r = 0; r < l.rank; ++r) {
    std::fill_n(s.v + (r * l.wide_c + end) * l.wide_p, (l.wide_c - end) * l.wide_p, 0.0f);
  }
  for (std::int64_t i = 0; end < l.wide_c && i < l.rank * l.d_state; ++i) {
    std::fill(s.k + i * l.wide_c + end, s.k + (i + 1) * l.wide_c, 0.0f);
  }
  join(l, w.mimo_x, head, s.h0);
  weigh(l, head, tail, end, s);

  const std::int64_t first = tail / kTileRows * kTileRows;
  const std::int64_t rows = (end - first + kTileRows - 1) / kTileRows * kTileRows;
  for (std::int64_t r = 0; r < l.rank; ++r) {
    read_out(l, r, first, rows, s);
    for (std::int64_t i = 0; i < in.count; ++i) {
      const std::int64_t t = tail + i;
      float* y = s.y + t * l.wide_p;
      const float* v = s.v + (r * l.wide_c + t) * l.wide_p;
      for (std::int64_t p = 0; p < l.headdim; ++p) y[p] += w.D * v[p];
      if (in.y != nullptr) std::copy_n(y, l.headdim, in.y + i * in.y_token + r * in.y_rank);
      gate_row(l, w, r, y, in.z + i * in.zx_stride, in.out + i * in.out_stride);
    }
  }
  if (in.completes) {
    advance(l, end, in.x + (in.count - 1) * in.zx_stride, head, s);
  } else {
    keep_tail(l, in, tail, head, s);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(run_stretch);

namespace cpu {

std::int64_t head_scratch(const Mamba3Layout& l) {
  return 2 * l.rank * l.d_state * l.wide_c + 2 * l.angles * l.wide_c + 2 * l.wide_c * l.wide_c +
         2 * l.wide_c + l.wide_n * l.wide_p + (l.rank + 1) * l.wide_c * l.wide_p;
}

void run_stretch(const Mamba3Layout& layout, bool is_mimo, const Mamba3HeadWeights& weights,
                 const Mamba3Stretch& stretch, std::int64_t tail, Mamba3Head head, float* scratch) {
  HWY_DYNAMIC_DISPATCH(run_stretch)(layout, is_mimo, weights, stretch, tail, head, scratch);
}

}  // namespace cpu
}  // namespace mamba3
#endif
