// The arithmetic of one head on the CPU: a stretch of tokens, a single token, the folding of a tail into its
// checkpoint, and the way back.
#pragma once

#include <cstdint>

#include "mixers/mamba3/layout.h"
#include "mixers/mamba3/mamba3.h"

namespace mamba3::cpu {

/// A head's small parameters, in the layout that the kernels read.
struct Mamba3HeadWeights {
  const float* B_bias;  // [R, N]
  const float* C_bias;  // [R, N]
  const float* mimo_x;  // [R, P], null for SISO
  const float* mimo_z;  // [R, P], null for SISO
  const float* mimo_o;  // [R, P], null for SISO
  const float* norm;    // [P], null without is_outproj_norm
  float D;
};

/// Tokens of one head that follow a tail: `count` of them, the first at `slot` of its chunk, the tail's first
/// at `start`. Pointers stand at the first token, but those to B and C at its chunk.
struct Mamba3Stretch {
  std::int64_t count;
  std::int64_t slot;
  std::int64_t start;
  const float*
      B;  // [N, M'] of the head's group, normed, see transpose_chunk; `chunk_stride` floats between chunks
  const float* C;  // [N, M']
  std::int64_t chunk_stride;
  const float* rate;  // [count, S']  tanh(angle) pi, S' = padded(S)
  const float* adt;   // [count] with `head_stride` floats between tokens; so dt and lambda
  const float* dt;
  const float* lambda;
  std::int64_t head_stride;
  const float* x;  // [count, P] with zx_stride floats between tokens; so z
  const float* z;
  std::int64_t zx_stride;
  float* out;  // [count, P] with out_stride floats between tokens
  std::int64_t out_stride;
  float* y;  // [count, R, ., P] with y_token and y_rank floats between tokens and ranks; may be null
  std::int64_t y_token;
  std::int64_t y_rank;
};

/// Floats of scratch memory that run_tokens needs.
std::int64_t head_scratch(const Mamba3Layout& layout);

/// Runs a stretch, chunk by chunk, after a tail of `tail` tokens.
void run_tokens(const Mamba3Layout& layout, bool is_mimo, const Mamba3HeadWeights& weights,
                const Mamba3Stretch& stretch, std::int64_t tail, Mamba3Head head, float* scratch);

/// B or C of one chunk's tokens, [C, R, G, N] with `stride` floats between tokens, to [G, N, M']: token t of
/// rank r is column t R + r, M' = padded(C R).
void transpose_chunk(const Mamba3Layout& layout, std::int64_t groups, const float* from, std::int64_t stride,
                     float* to);

/// A single token. B, C [R, N] of the head's group, normed, `group_stride` floats between ranks; rate [S'];
/// x, z, out [P].
struct Mamba3Token {
  const float* B;
  const float* C;
  std::int64_t group_stride;
  const float* rate;
  float adt, dt, lambda;
  const float* x;
  const float* z;
  float* out;
};

/// Floats of scratch memory that step_head, fold_tail and turn_back need.
std::int64_t step_scratch(const Mamba3Layout& layout);

/// Appends a token to a tail of `tail` tokens and reads it out; with `folds` the tail, the token included,
/// then goes into the checkpoint.
void step_head(const Mamba3Layout& layout, bool is_mimo, const Mamba3HeadWeights& weights,
               const Mamba3Token& token, std::int64_t tail, bool folds, Mamba3Head head, float* scratch);

/// Makes the state after a tail of `tail` > 0 tokens the checkpoint.
void fold_tail(const Mamba3Layout& layout, const float* mimo_x, std::int64_t tail, Mamba3Head head,
               float* scratch);

/// The angles after the first `tail` tokens of the tail, `rate` [tail, S'], as they were then.
void turn_back(const Mamba3Layout& layout, const float* rate, std::int64_t tail, Mamba3Head head,
               float* scratch);

/// tanh(v) * pi, sigmoid(v), softplus(v), elementwise.
void angle_rate(const float* angle, std::int64_t n, float* rate);
void sigmoid(const float* v, std::int64_t n, float* out);
void softplus(const float* v, std::int64_t n, float* out);

}  // namespace mamba3::cpu
