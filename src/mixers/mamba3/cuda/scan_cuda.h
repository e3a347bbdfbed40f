// Prefill of a Mamba-3 layer on a GPU: everything between in_proj and out_proj but the norm of B and C, for
// packed sequences, on the tensor cores. Source: spec "The layer", steps 4 to 9, and "Why it is a scan".
//
// Axes as in mamba3.h: T tokens of all sequences, H heads, P headdim, E = H P, N d_state, R rank, G groups,
// S angles. All pointers are the device's.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "mixers/mamba3/config.h"
#include "mixers/mamba3/cuda/parameters_cuda.h"

namespace mamba3::cuda {

/// What the scan takes for T tokens. Strides are elements from a token to the next, multiples of 8; rows
/// begin at multiples of 16 bytes.
struct ScanInput {
  const __nv_bfloat16* z;  // [T, H, P]     zx_stride
  const __nv_bfloat16* x;  // [T, H, P]     zx_stride
  const __nv_bfloat16* B;  // [T, R, G, N]  bc_stride; normed, neither biased nor rotated
  const __nv_bfloat16* C;  // [T, R, G, N]  bc_stride; the same
  const float* adt;        // [T, H]        A dt, negative
  const float* dt;         // [T, H]
  const float* trap;       // [T, H]        logit of lambda
  const float* rate;       // [T, S]        tanh(angle) pi
  std::int64_t zx_stride;
  std::int64_t bc_stride;
};

/// How T tokens fall into sequences. A state is a layer's block as Mamba3Layout has it, at
/// states[q] + state_offset: its tail is empty when the scan starts and when it ends, its checkpoint moves
/// from before the sequence's first token to after its last. An empty sequence leaves it alone.
struct ScanSequences {
  std::int64_t count;
  std::int64_t total;              ///< T
  std::int64_t longest;            ///< tokens
  const std::int32_t* cu_seqlens;  // [count + 1]  first tokens, then T
  float* const* states;            // [count], or null: start from zeros and drop the end
  std::int64_t state_offset;       ///< floats
};

/// Whether these kernels cover the shape: headdim 32, 64 or, without is_outproj_norm, 128; d_state a multiple
/// of 16 from 16 to 256; rank at most 8.
bool scan_fits(const Mamba3Config& config);

/// Bytes that scan_forward needs at `workspace`, for these sequences on the current device.
std::size_t scan_workspace_bytes(const Mamba3Config& config, const ScanSequences& sequences);

/// out [T, H, P], dense: the gated output, what out_proj takes. Products take bf16 and sum in float32;
/// angles, decays and states are float32. Relative error in norm of out and h below 1e-2. The shape must fit.
void scan_forward(const Mamba3Config& config, const ScanInput& input, const Mamba3Parameters& parameters,
                  const ScanSequences& sequences, __nv_bfloat16* out, void* workspace, cudaStream_t stream);

}  // namespace mamba3::cuda
