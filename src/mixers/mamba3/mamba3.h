// The Mamba-3 mixer: a sequence-mixing layer whose state does not grow (arXiv 2603.15569).
//
// Axes: T tokens, D d_model, H heads, P headdim, E = H P, N d_state, R rank (1 for SISO), G groups, S angles.
// reference.h defines what is computed; the fast implementations compute it in chunks.
#pragma once

#include <cstdint>
#include <span>

#include "core/parameter.h"
#include "mixers/layer.h"
#include "mixers/mamba3/config.h"
#include "mixers/mamba3/reference.h"
#include "ops/linear/linear.h"

namespace mamba3 {

/// Views of a layer's parameters. in_proj of the checkpoint is held in two parts: the rows of products, which
/// may be quantized, and the rows that steer the dynamics, whose errors compound along the sequence.
struct Mamba3Weights {
  PackedMatrix in_proj;            // [2E + 2RGN, D]  z, x, B, C
  PackedMatrix dynamics;           // [3H + S, D]     dd_dt, dd_A, trap, angle
  PackedMatrix out_proj;           // [D, E]
  const float* dt_bias = nullptr;  // [H]
  const float* B_bias = nullptr;   // [H, R, N]
  const float* C_bias = nullptr;   // [H, R, N]
  const float* B_norm = nullptr;   // [N]
  const float* C_norm = nullptr;   // [N]
  const float* D = nullptr;        // [H]
  const float* mimo_x = nullptr;   // [H, R, P], null for SISO
  const float* mimo_z = nullptr;   // [H, R, P], null for SISO
  const float* mimo_o = nullptr;   // [H, R, P], null for SISO
  const float* norm = nullptr;     // [E], null without is_outproj_norm
};

/// The layer's rows of the table of parameters; names, official names and GGUF names without the layer's
/// prefix.
ParameterTable mamba3_parameters(const Mamba3Config& config);

/// Tokens of a chunk of the parallel form. Chunks lie at absolute positions, so it divides kBlockRows.
std::int64_t mamba3_chunk(const Mamba3Config& config);

/// A session's start: all zeros.
LayerState mamba3_zero_state(const Mamba3Config& config);

/// Conversion from and to the specification's form of the state. Import sets the checkpoint and an empty
/// tail; export gives the true state after the last token, tail included (for which it needs mimo_x).
LayerState mamba3_import_state(const Mamba3Config& config, const reference::Mamba3State<float>& state);
reference::Mamba3State<float> mamba3_export_state(const Mamba3Config& config, const Mamba3Weights& weights,
                                                  const LayerState& state);

/// forward: u [window.rows, D] to out [window.rows, D] for the window's tokens, which follow what `state` has
/// seen; the state moves on. Rows of `out` outside [begin, end) are undefined. Any division of a sequence
/// into calls gives the same bits.
void mamba3_forward(const Exec& exec, const Mamba3Config& config, const Mamba3Weights& weights,
                    const RowWindow& window, const float* u, float* out, LayerState& state);

/// A session's state and the absolute position of its next token.
struct Mamba3Place {
  LayerState* state;
  std::int64_t position;
};

/// step: one token for each of `places.size()` sessions; u, out [places.size(), D]. The token joins the tail;
/// at fixed absolute positions the tail then goes into the checkpoint. A session's bits do not depend on the
/// others. Agrees with forward within rounding.
void mamba3_step(const Exec& exec, const Mamba3Config& config, const Mamba3Weights& weights, const float* u,
                 float* out, std::span<const Mamba3Place> places);

/// Undoes the last `tokens` tokens, at most those of the tail: the state goes on with the bits that it had
/// before them.
void mamba3_rewind(const Exec& exec, const Mamba3Config& config, LayerState& state, std::int64_t tokens);

/// The scan's inputs for the tokens [begin, end) of a window; every pointer stands at the window's row 0.
/// B and C are normed (step 3) and not yet biased or rotated: [rows, R, G, N] with `bc_stride` floats between
/// rows.
struct Mamba3ScanInput {
  const float* z = nullptr;      // [rows, H, P], zx_stride floats between rows
  const float* x = nullptr;      // [rows, H, P], zx_stride floats between rows
  const float* B = nullptr;      // [rows, R, G, N]
  const float* C = nullptr;      // [rows, R, G, N]
  const float* adt = nullptr;    // [rows, H]
  const float* dt = nullptr;     // [rows, H]
  const float* trap = nullptr;   // [rows, H]
  const float* angle = nullptr;  // [rows, S]
  std::int64_t zx_stride = 0;
  std::int64_t bc_stride = 0;
};

/// Steps 3 (bias) to 9 without out_proj: out [rows, E]; y [rows, R, H, P] before the gate is written too
/// unless null. Of `weights` only the small parameters are used.
void mamba3_scan(const Exec& exec, const Mamba3Config& config, const Mamba3Weights& weights,
                 const RowWindow& window, const Mamba3ScanInput& input, float* out, float* y,
                 LayerState& state);

namespace cpu {
void mamba3_forward(const Exec& exec, const Mamba3Config& config, const Mamba3Weights& weights,
                    const RowWindow& window, const float* u, float* out, LayerState& state);
void mamba3_step(const Exec& exec, const Mamba3Config& config, const Mamba3Weights& weights, const float* u,
                 float* out, std::span<const Mamba3Place> places);
void mamba3_rewind(const Mamba3Config& config, LayerState& state, std::int64_t tokens);
void mamba3_scan(Arena& arena, const Mamba3Config& config, const Mamba3Weights& weights,
                 const RowWindow& window, const Mamba3ScanInput& input, float* out, float* y,
                 LayerState& state);
/// Makes the state after the tail the checkpoint.
void mamba3_fold(const Mamba3Config& config, const Mamba3Weights& weights, LayerState& state);
}  // namespace cpu

namespace cuda {
void mamba3_forward(const Exec& exec, const Mamba3Config& config, const Mamba3Weights& weights,
                    const RowWindow& window, const float* u, float* out, LayerState& state);
void mamba3_step(const Exec& exec, const Mamba3Config& config, const Mamba3Weights& weights, const float* u,
                 float* out, std::span<const Mamba3Place> places);
void mamba3_rewind(const Mamba3Config& config, LayerState& state, std::int64_t tokens);
void mamba3_scan(Arena& arena, const Mamba3Config& config, const Mamba3Weights& weights,
                 const RowWindow& window, const Mamba3ScanInput& input, float* out, float* y,
                 LayerState& state);
}  // namespace cuda

}  // namespace mamba3
