// The gated activation of the MLP between its two products.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace mamba3::cuda {

/// up_gate [rows, 2 width] bf16, value half and gate half (fc1's order), to out [rows, width] bf16:
/// value * silu(gate), silu(v) = v / (1 + e^-v), in float32. width is a multiple of 8, addresses of 16 bytes.
void gated(const __nv_bfloat16* up_gate, std::int64_t rows, std::int64_t width, __nv_bfloat16* out,
           cudaStream_t stream);

}  // namespace mamba3::cuda
