// The scan of a Mamba-3 layer token by token on the GPU: the exact path, for any shape and any division of a
// text into calls with the same bits. reference.h defines what is computed.
//
// Axes: H heads, P headdim, E = H P, N d_state, R rank, G groups, S angles.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "mixers/mamba3/config.h"
#include "mixers/mamba3/cuda/parameters_cuda.h"
#include "mixers/mamba3/layout.h"

namespace mamba3::cuda {

/// Rows of packed sequences, in memory of the device. B and C are normed and not yet biased or rotated. Row
/// is float or __nv_bfloat16; everything between is float32.
template <typename Row>
struct RecurrentRows {
  const Row* z = nullptr;       // [rows, H, P], zx_stride values between rows
  const Row* x = nullptr;       // [rows, H, P], zx_stride values between rows
  const Row* B = nullptr;       // [rows, R, G, N], bc_stride values between rows
  const Row* C = nullptr;       // [rows, R, G, N], bc_stride values between rows
  const float* adt = nullptr;   // [rows, H]
  const float* dt = nullptr;    // [rows, H]
  const float* trap = nullptr;  // [rows, H]
  const float* rate = nullptr;  // [rows, S]  tanh(angle) pi
  std::int64_t zx_stride = 0;
  std::int64_t bc_stride = 0;
  Row* out = nullptr;  // [rows, E]  gated, ranks summed
  float* y = nullptr;  // [rows, R, H, P]  before the gate; may be null
};

/// Where sequences lie in the rows, and what they carry; the arrays lie in memory of the device.
struct RecurrentSequences {
  std::int64_t count = 0;
  const std::int32_t* cu_seqlens = nullptr;  // [count + 1]  sequence i has the rows [cu[i], cu[i + 1])
  float* const* states = nullptr;            // [count]  blocks, aligned to 16 bytes
  std::int64_t offset = 0;                   ///< of the layer's part in a block, floats, a multiple of 4
};

/// Whether mamba3_recurrent takes a shape: N up to 256, P up to 128.
bool takes_recurrent(const Mamba3Config& config);

/// Steps 3 (biases) to 9 without out_proj. States have the layout `layout` and empty tails, on entry and on
/// return.
template <typename Row>
void mamba3_recurrent(const Mamba3Config& config, const Mamba3Layout& layout, const Mamba3Parameters& weights,
                      const RecurrentRows<Row>& rows, const RecurrentSequences& sequences,
                      cudaStream_t stream);
extern template void mamba3_recurrent(const Mamba3Config&, const Mamba3Layout&, const Mamba3Parameters&,
                                      const RecurrentRows<float>&, const RecurrentSequences&, cudaStream_t);
extern template void mamba3_recurrent(const Mamba3Config&, const Mamba3Layout&, const Mamba3Parameters&,
                                      const RecurrentRows<__nv_bfloat16>&, const RecurrentSequences&,
                                      cudaStream_t);

}  // namespace mamba3::cuda
