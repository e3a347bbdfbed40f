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
///   theta  [H, S]           angles after the last token, tail included
///   start  [H, S]           angles of the checkpoint, from which a rewound session turns its angles again
///   rate   [C, S']          tanh(angle) pi of the tail's tokens
///   h      [H, N, P']       checkpoint: the state, transposed, so that a row of P values meets one k and
///                           one q
///   tokens [H, 1 + C, token]  k [R, N'] and x [P'] of the checkpoint's last token, then of the tail's: a
///                           step reads and appends whole tokens, so one lies in one piece
///   alpha  [H, C']          exp(A dt) of the tail's tokens
///   own    [H, C']          lambda dt: weight of a token's k v in its own state
///   before [H, C']          (1 - lambda) dt: weight it gives to the token before it
///   dt     [H, C']
///
/// N', P', S' and C' are N, P, S and C padded; C is mamba3_chunk().
struct Mamba3Layout {
  std::int64_t heads, headdim, d_state, rank, angles, chunk;
  std::int64_t wide_n, wide_p, wide_s, wide_c;  ///< N', P', S', C'
  std::int64_t token;                           ///< floats of one token's k and x
  std::int64_t theta = 0, start, rate, h, tokens, alpha, own, before, dt, size;

  Mamba3Layout(const Mamba3Config& c, std::int64_t chunk_tokens)
      : heads(c.n_heads()),
        headdim(c.headdim),
        d_state(c.d_state),
        rank(c.rank()),
        angles(c.n_angles()),
        chunk(chunk_tokens),
        wide_n(padded(d_state)),
        wide_p(padded(headdim)),
        wide_s(padded(angles)),
        wide_c(padded(chunk)),
        token(rank * wide_n + wide_p) {
    start = padded(heads * angles);
    rate = 2 * start;
    h = rate + chunk * wide_s;
    tokens = h + heads * d_state * wide_p;
    alpha = tokens + heads * (1 + chunk) * token;
    own = alpha + heads * wide_c;
    before = own + heads * wide_c;
    dt = before + heads * wide_c;
    size = dt + heads * wide_c;
  }

  /// Single steps fold the tail into the checkpoint at absolute positions that are multiples of this: the
  /// power of two (so it divides a chunk) that moves the fewest bytes. A step reads (F - 1) / 2 older tokens
  /// of the tail on average, and every F-th writes the state. N 128, P 64: 8 for rank 1 and 2, 4 for rank 4.
  std::int64_t fold_every() const {
    const auto moved = [&](std::int64_t F) { return (F - 1) * token / 2 + d_state * wide_p / F; };
    std::int64_t every = 1;
    while (every < chunk && moved(2 * every) < moved(every)) every *= 2;
    return every;
  }
};

/// One head's part of a state.
struct Mamba3Head {
  float* theta;
  float* start;
  float* h;
  float* tokens;
  float* alpha;
  float* own;
  float* before;
  float* dt;
  std::int64_t token, k_size;

  Mamba3Head(const Mamba3Layout& l, float* values, std::int64_t head)
      : theta(values + l.theta + head * l.angles),
        start(values + l.start + head * l.angles),
        h(values + l.h + head * l.d_state * l.wide_p),
        tokens(values + l.tokens + head * (1 + l.chunk) * l.token),
        alpha(values + l.alpha + head * l.wide_c),
        own(values + l.own + head * l.wide_c),
        before(values + l.before + head * l.wide_c),
        dt(values + l.dt + head * l.wide_c),
        token(l.token),
        k_size(l.rank * l.wide_n) {}

  /// [R, N'] and [P'] of the checkpoint's last token (slot 0) and of the tail's token i (slot 1 + i).
  float* k(std::int64_t slot) const { return tokens + slot * token; }
  float* x(std::int64_t slot) const { return tokens + slot * token + k_size; }
};

}  // namespace mamba3
