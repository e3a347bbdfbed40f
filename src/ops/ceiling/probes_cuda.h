// The kernels behind ceiling_cuda.h.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace mamba3::cuda {

/// Bytes that a block reads.
inline constexpr std::size_t kReadUnit = 32768;

/// Reads `bytes`, a multiple of kReadUnit; *sink depends on all of them, so that no read can be left out.
void read_all(const std::byte* from, std::size_t bytes, std::uint32_t* sink, cudaStream_t stream);

/// Random numbers in [-1, 1).
void fill_random(__nv_bfloat16* to, std::int64_t count, std::uint64_t seed, cudaStream_t stream);

}  // namespace mamba3::cuda
