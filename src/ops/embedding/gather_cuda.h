// Rows of the embedding table by ids that are on the device already.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace mamba3::cuda {

/// out[i, :] = table[ids[i], :]: table [vocab, width] bf16, ids [rows], out [rows, width] float32.
/// Precondition: every id is a row of the table. width is a multiple of 8, addresses of 16 bytes.
void gather_rows(const __nv_bfloat16* table, std::int64_t width, const std::int32_t* ids, std::int64_t rows,
                 float* out, cudaStream_t stream);

}  // namespace mamba3::cuda
