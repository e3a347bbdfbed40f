// Where the parts of a session's state lie in LayerState::values, on the CPU.
#pragma once

#include <cstdint>

#include "mixers/mamba3/config.h"
#include "ops/simd/padding.h"

namespace mamba3 {

/// Head after head; widths are padded so that vectors need no remainder, and padding stays zero. The
/// checkpoint is the state at the start of the tail; the tail holds what the tokens since then put in,
/// rotated and weighed.
///
///   theta  [H, S]            angles after the last token, tail included
///   h      [H, N, P']        checkpoint: the state, transposed, so that a row of P values meets one k and
///   one q k      [H, R, N]         checkpoint: the last token's k x      [H, P']           checkpoint: the
///   last token's x tail k      [H, R, N, C'] k of the chunk's tokens, tokens innermost tail x      [H, C,
///   P'] tail alpha  [H, C']      exp(A dt) tail own    [H, C']      lambda dt: weight of a token's k v in
///   its own state tail before [H, C']      (1 - lambda) dt: weight it gives to the token before it
///
/// P' and C' are P and C padded; C is mamba3_chunk().
struct Mamba3Layout {
  std::int64_t heads, headdim, d_state, rank, angles, chunk;
  std::int64_t wide_p, wide_c;  ///< P', C'
  std::int64_t theta = 0, h, k, x, tail_k, tail_x, alpha, own, before, size;

  Mamba3Layout(const Mamba3Config& c, std::int64_t chunk_tokens)
      : heads(c.n_heads()),
        headdim(c.headdim),
        d_state(c.d_state),
        rank(c.rank()),
        angles(c.n_angles()),
        chunk(chunk_tokens),
        wide_p(padded(headdim)),
        wide_c(padded(chunk)) {
    h = padded(heads * angles);
    k = h + heads * d_state * wide_p;
    x = k + padded(heads * rank * d_state);
    tail_k = x + heads * wide_p;
    tail_x = tail_k + heads * rank * d_state * wide_c;
    alpha = tail_x + heads * chunk * wide_p;
    own = alpha + heads * wide_c;
    before = own + heads * wide_c;
    size = before + heads * wide_c;
  }
};

/// One head's part of a state.
struct Mamba3Head {
  float* theta;
  float* h;
  float* k;
  float* x;
  float* tail_k;
  float* tail_x;
  float* alpha;
  float* own;
  float* before;

  Mamba3Head(const Mamba3Layout& l, float* values, std::int64_t head)
      : theta(values + l.theta + head * l.angles),
        h(values + l.h + head * l.d_state * l.wide_p),
        k(values + l.k + head * l.rank * l.d_state),
        x(values + l.x + head * l.wide_p),
        tail_k(values + l.tail_k + head * l.rank * l.d_state * l.wide_c),
        tail_x(values + l.tail_x + head * l.chunk * l.wide_p),
        alpha(values + l.alpha + head * l.wide_c),
        own(values + l.own + head * l.wide_c),
        before(values + l.before + head * l.wide_c) {}
};

}  // namespace mamba3
