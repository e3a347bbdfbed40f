// The rows of one head's chunk: what its tokens put in, before any product. Included once per instruction
// set.

#if defined(MAMBA3_MIXERS_MAMBA3_CHUNK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MAMBA3_MIXERS_MAMBA3_CHUNK_INL_H_
#undef MAMBA3_MIXERS_MAMBA3_CHUNK_INL_H_
#else
#define MAMBA3_MIXERS_MAMBA3_CHUNK_INL_H_
#endif

#include <algorithm>

#include "mixers/mamba3/head-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

using cpu::Mamba3Stretch;

// Memory of one head's chunk, carved from one block. A token is R rows, one a rank: token t of the chunk has
// the rows t R to t R + R - 1 of M = C R; M' is M padded.
struct Chunk {
  std::int64_t rows, wide;  // M, M'
  std::int64_t bias_width;  // biases repeat with the ranks: one vector of them, or M'
  std::int64_t size;        // floats of the block
  float* q;                 // [N, M']  rotated C, rows innermost
  float* k;                 // [N, M']  rotated B
  float* B_bias;            // [N, bias_width]
  float* C_bias;            // [N, bias_width]
  float* cosine;            // [S', C']
  float* sine;              // [S', C']
  float* turned;            // [2, C', S'] cosines and sines, as they are made
  float* weight;            // [C, M'] what a row gives to the rows of a token
  float* decay;             // [M'] from the chunk's start to after the row's token
  float* own;               // [M'] weight of a row in its own token's state
  float* gain;              // [M'] the same in later tokens' states
  float* h0;                // [N, P'] the checkpoint with the boundary term
  float* v_before;          // [R, P'] values of the token before the checkpoint
  float* v;                 // [M', P'] values
  float* v_last;            // [M', P'] values times what reaches the chunk's end
  float* y;                 // [M', P']
  float* scores;            // [kPadding, M']

  // With a null block it only counts.
  Chunk(const Mamba3Layout& l, float* block)
      : rows(l.chunk * l.rank), wide(padded(rows)), bias_width(kPadding % l.rank == 0 ? kPadding : wide) {
    size = 0;
    const auto next = [&](std::int64_t n) {
      float* taken = block == nullptr ? nullptr : block + size;
      size += n;
      return taken;
    };
    q = next(l.d_state * wide), k = next(l.d_state * wide);
    B_bias = next(l.d_state * bias_width), C_bias = next(l.d_state * bias_width);
    cosine = next(l.wide_s * l.wide_c), sine = next(l.wide_s * l.wide_c + kPadding);
    turned = next(2 * l.wide_c * l.wide_s);
    weight = next(l.chunk * wide);
    decay = next(wide), own = next(wide), gain = next(wide);
    h0 = next(l.d_state * l.wide_p), v_before = next(l.rank * l.wide_p);
    v = next(wide * l.wide_p), v_last = next(wide * l.wide_p), y = next(wide * l.wide_p);
    scores = next(kPadding * wide);
  }
};

// n values, a multiple of kPadding, times `factor`.
HWY_INLINE void scale(float* values, float factor, std::int64_t n) {
  const D d;
  const V times = hn::Set(d, factor);
  for (std::int64_t i = 0; i < n; i += lanes())
    hn::Store(hn::Mul(times, hn::Load(d, values + i)), d, values + i);
}

// Biases [R, N] as vectors of rows read them. One rank's stand as they are.
HWY_INLINE void spread_bias(const Mamba3Layout& l, const float* bias, const Chunk& s, float* out) {
  const std::int64_t N = l.d_state, R = l.rank;
  if (R == 1) return static_cast<void>(std::copy_n(bias, N, out));
  for (std::int64_t n = 0; n < N; ++n) {
    for (std::int64_t m = 0; m < s.bias_width; ++m)
      out[n * s.bias_width + m] = m < R ? bias[m * N + n] : out[n * s.bias_width + m - R];
  }
}

// Turns the head's angles by the stretch's tokens: cosine and sine [S', C'] at their slots.
HWY_INLINE void turn_tokens(const Mamba3Layout& l, const Mamba3Stretch& in, float* theta, const Chunk& s) {
  const D d;
  const std::int64_t L = lanes(), first = in.slot / 4 * 4, end = in.slot + in.count;
  float *cosines = s.turned, *sines = s.turned + l.wide_c * l.wide_s;
  for (std::int64_t at = 0; at < l.angles; at += L) {
    V angle = load_some(theta + at, l.angles - at);
    for (std::int64_t i = 0; i < in.count; ++i) {
      angle = turned(angle, hn::LoadU(d, in.rate + i * l.wide_s + at), in.dt[i * in.head_stride]);
      V c, sn;
      cosine_sine(angle, c, sn);
      hn::Store(c, d, cosines + (in.slot + i) * l.wide_s + at);
      hn::Store(sn, d, sines + (in.slot + i) * l.wide_s + at);
    }
    store_some(angle, theta + at, l.angles - at);
  }
  for (std::int64_t t = first; t < end; t += 4) {
    for (std::int64_t at = 0; at < l.angles; at += 4) {
      const auto transpose = [&](const float* from, float* to) {
        from += t * l.wide_s + at;
        const float* const four[4] = {from, from + l.wide_s, from + 2 * l.wide_s, from + 3 * l.wide_s};
        transpose_4x4(four, to + at * l.wide_c + t, l.wide_c);
      };
      transpose(cosines, s.cosine);
      transpose(sines, s.sine);
    }
  }
}

// One vector of rows of q or k, at row m: biased, and the first pairs rotated: (2s, 2s+1), with MIMO (s, s +
// N/2). `token_of` spreads a token's cosines and sines over its ranks; a lone rank needs neither that nor
// biases as vectors.
template <bool kOneRank, typename Indices>
HWY_INLINE void rotate(const Mamba3Layout& l, bool is_mimo, const Chunk& s, std::int64_t m,
                       const Indices& token_of, const float* from, const float* bias, float* out) {
  const D d;
  const std::int64_t half = l.d_state / 2, angles = l.angles, wide = s.wide, wide_c = l.wide_c;
  const std::int64_t step = is_mimo ? 1 : 2, other = is_mimo ? half : 1, bias_width = s.bias_width;
  const float *cosine = s.cosine + m / l.rank, *sine = s.sine + m / l.rank;
  from += m, out += m, bias += kOneRank ? 0 : m % bias_width;
  const auto biased = [=](std::int64_t n) {
    const V value = hn::Load(D(), from + n * wide);
    return hn::Add(value, kOneRank ? hn::Set(D(), bias[n]) : hn::Load(D(), bias + n * bias_width));
  };
  const auto of_token = [&](const float* row) {
    const V tokens = hn::LoadU(D(), row);
    return kOneRank ? tokens : hn::TableLookupLanes(tokens, token_of);
  };
  for (std::int64_t pair = 0; pair < half; ++pair) {
    const std::int64_t i = pair * step, j = i + other;
    const V a = biased(i), b = biased(j);
    if (pair < angles) {
      const V c = of_token(cosine + pair * wide_c), sn = of_token(sine + pair * wide_c);
      hn::Store(hn::NegMulAdd(b, sn, hn::Mul(a, c)), d, out + i * wide);
      hn::Store(hn::MulAdd(a, sn, hn::Mul(b, c)), d, out + j * wide);
    } else {
      hn::Store(a, d, out + i * wide);
      hn::Store(b, d, out + j * wide);
    }
  }
}

// q and k of the stretch's rows. Whole vectors are made; what they hold beside the stretch is not to be used.
template <bool kOneRank>
HWY_INLINE void rotate_rows(const Mamba3Layout& l, bool is_mimo, const Mamba3Stretch& in, const Chunk& s) {
  const std::int64_t L = lanes(), end = (in.slot + in.count) * l.rank;
  for (std::int64_t m = in.slot * l.rank / L * L; m < end; m += L) {
    HWY_ALIGN std::int32_t tokens[kPadding];
    for (std::int64_t i = 0; i < L; ++i) tokens[i] = static_cast<std::int32_t>((m + i) / l.rank - m / l.rank);
    const auto token_of = hn::SetTableIndices(D(), tokens);
    rotate<kOneRank>(l, is_mimo, s, m, token_of, in.C, s.C_bias, s.q);
    rotate<kOneRank>(l, is_mimo, s, m, token_of, in.B, s.B_bias, s.k);
  }
}

// A token's values, v[r, p] = x[p] (* mimo_x[r, p]): [R, P'].
HWY_INLINE void fill_values(const Mamba3Layout& l, const float* mimo_x, const float* x, float* v) {
  const D d;
  for (std::int64_t p = 0; p < l.wide_p; p += lanes()) {
    const std::int64_t left = std::max<std::int64_t>(l.headdim - p, 0);
    const V value = load_some(x + p, left);
    for (std::int64_t r = 0; r < l.rank; ++r) {
      const V spread =
          mimo_x == nullptr ? value : hn::Mul(value, load_some(mimo_x + r * l.headdim + p, left));
      hn::Store(spread, d, v + r * l.wide_p + p);
    }
  }
}

// What each row gives to each token, for the tokens from `start`, where the tail begins, to `end`. Decays are
// products of alpha, one token after the other: no difference of large sums, so a strong decay loses nothing
// and never overflows. `alpha`, `own` and `before` begin at `start`. Fills the rows of `weight` (zero beyond
// the token itself) and decay.
HWY_INLINE void weigh(const Mamba3Layout& l, const Mamba3Head& head, std::int64_t start, std::int64_t end,
                      const Chunk& s) {
  const D d;
  const std::int64_t R = l.rank;
  std::fill_n(s.own, s.wide, 0.0f), std::fill_n(s.gain, s.wide, 0.0f);
  float total = 1;
  for (std::int64_t t = start; t < end; ++t) {
    const std::int64_t i = t - start;
    total *= head.alpha[i];
    std::fill_n(s.decay + t * R, R, total);
    std::fill_n(s.own + t * R, R, head.own[i]);
    if (t + 1 < end) std::fill_n(s.gain + t * R, R, head.own[i] + head.before[i + 1]);
  }
  for (std::int64_t m = 0; m < s.wide; m += lanes()) {
    const V own = hn::Load(d, s.own + m), gain = hn::Load(d, s.gain + m);
    const V row = hn::Iota(d, static_cast<float>(m));
    V reach = hn::Zero(d);  // decay from a row's token to token t
    for (std::int64_t t = start; t < end; ++t) {
      const V first = hn::Set(d, static_cast<float>(t * R)), next = hn::Set(d, static_cast<float>(t * R + R));
      const auto is_own = hn::And(hn::Ge(row, first), hn::Lt(row, next));
      reach = hn::IfThenElse(is_own, hn::Set(d, 1.0f), hn::Mul(reach, hn::Set(d, head.alpha[t - start])));
      hn::Store(hn::IfThenElse(is_own, own, hn::Mul(reach, gain)), d, s.weight + t * s.wide + m);
    }
  }
}

// The tail's tokens into the chunk, from `start` on; rows that no token fills become zero, for they are read
// with weight zero. `end` is behind the last token.
HWY_INLINE void open_tail(const Mamba3Layout& l, const float* mimo_x, const Mamba3Head& head,
                          std::int64_t tail, std::int64_t start, std::int64_t end, const Chunk& s) {
  const std::int64_t first = start * l.rank, last = end * l.rank;
  for (std::int64_t n = 0; n < l.d_state; ++n) {
    float* row = s.k + n * s.wide;
    std::fill_n(row, first, 0.0f), std::fill(row + last, row + s.wide, 0.0f);
  }
  std::fill_n(s.v, first * l.wide_p, 0.0f);
  std::fill(s.v + last * l.wide_p, s.v + s.wide * l.wide_p, 0.0f);
  for (std::int64_t t = 0; t < tail; ++t) {
    const std::int64_t m = first + t * l.rank;
    for (std::int64_t r = 0; r < l.rank; ++r) {
      const float* k = head.k(1 + t) + r * l.wide_n;
      for (std::int64_t n = 0; n < l.d_state; ++n) s.k[n * s.wide + m + r] = k[n];
    }
    fill_values(l, mimo_x, head.x(1 + t), s.v + m * l.wide_p);
  }
}

// k of a token of the chunk and its x, into a slot of the state.
HWY_INLINE void keep_token(const Mamba3Layout& l, std::int64_t token, const float* x, std::int64_t slot,
                           const Mamba3Head& head, const Chunk& s) {
  for (std::int64_t r = 0; r < l.rank; ++r) {
    const float* column = s.k + token * l.rank + r;
    float* k = head.k(slot) + r * l.wide_n;
    for (std::int64_t n = 0; n < l.d_state; ++n) k[n] = column[n * s.wide];
  }
  std::copy_n(x, l.headdim, head.x(slot));
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#endif
