// Single tokens of many sessions on the GPU, between in_proj and out_proj, and what a tail is good for
// besides. The mathematics is the specification's "The layer", steps 1 to 9 (arXiv 2603.15569); reference.h
// defines it.
//
// A session's state is one block of float32 in device memory; a layer's part of it begins `offset` floats
// into the block and lies as Mamba3Layout says, as on the CPU. Everything that changes from token to token
// (states, positions, tails) is read from device memory when a kernel runs, so a launch can be captured in a
// graph once and replayed. A session's bits depend neither on the others of the batch nor on their number.
//
// Axes: H heads, P headdim, E = H P, N d_state, R rank (1 to 8), G groups, S angles.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "mixers/mamba3/config.h"
#include "mixers/mamba3/cuda/parameters_cuda.h"
#include "mixers/mamba3/layout.h"

namespace mamba3::cuda {

/// A batch of sessions; the arrays lie in device memory.
struct Mamba3Sessions {
  float* const* states = nullptr;           // [batch]  blocks, each on a boundary of 16 bytes
  const std::int64_t* positions = nullptr;  // [batch]  absolute position of the token that is read now
  const std::int32_t* tails = nullptr;  // [batch]  tokens in the tail, the same in all layers of a session
  std::int64_t batch = 0;
};

/// Whether the kernels of this header take a shape: R up to 8, N up to 256, P up to 128, tails up to 32
/// tokens.
bool takes_shape(const Mamba3Layout& layout);

/// One token of every session through one layer: it joins the tail, the output is read from checkpoint and
/// tail, and where (position + 1) is a multiple of layout.fold_every() the tail goes into the checkpoint.
/// Tails and positions stay as they are: see advance().
///
///   projected [batch, 2E + 2RGN]  z, x, B, C as in_proj gives them, on a boundary of 16 bytes
///   dynamics  [batch, 3H + S]     dd_dt, dd_A, trap, angle
///   out       [batch, E]          gated, ranks summed: what out_proj takes
///
/// With `overlap` the launch may begin before the kernel in front of it in the stream has ended (programmatic
/// dependent launch, from compute capability 9.0 on): it reads sessions, state and parameters at once, and
/// waits before it reads `projected` and `dynamics` and before it writes anything. So between two steps of
/// the same layer there must stand a launch without overlap, as a graph's end is.
template <typename T>
void step_heads(const Mamba3Config& config, const Mamba3Layout& layout, const Mamba3Parameters& weights,
                const Mamba3Sessions& sessions, std::int64_t offset, const T* projected,
                const float* dynamics, T* out, bool overlap, cudaStream_t stream);
extern template void step_heads(const Mamba3Config&, const Mamba3Layout&, const Mamba3Parameters&,
                                const Mamba3Sessions&, std::int64_t, const float*, const float*, float*, bool,
                                cudaStream_t);
extern template void step_heads(const Mamba3Config&, const Mamba3Layout&, const Mamba3Parameters&,
                                const Mamba3Sessions&, std::int64_t, const __nv_bfloat16*, const float*,
                                __nv_bfloat16*, bool, cudaStream_t);

/// After the last layer of a step: every session stands one token further; a tail grows by one, or is empty
/// where the step has folded it. positions, tails [batch].
void advance(std::int64_t* positions, std::int32_t* tails, std::int64_t batch, std::int64_t fold_every,
             cudaStream_t stream);

/// Makes the state after the tail the checkpoint of one layer of every session; sessions without a tail stay
/// as they are. The caller then sets the tails to 0. mimo_x [H, R, P] as in the step. Does not read
/// positions.
void fold_tails(const Mamba3Layout& layout, const float* mimo_x, const Mamba3Sessions& sessions,
                std::int64_t offset, cudaStream_t stream);

/// The angles of one layer of every session after the first tails[b] tokens of the tail, with the bits that
/// they had then: the rest of the tail is undone. Does not read positions.
void turn_back(const Mamba3Layout& layout, const Mamba3Sessions& sessions, std::int64_t offset,
               cudaStream_t stream);

}  // namespace mamba3::cuda
