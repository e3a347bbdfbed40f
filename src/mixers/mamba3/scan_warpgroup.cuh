// A chunk's products as those of whole warp groups (sm_90a): operands stay in shared memory, and the state
// moves on while scores are weighed.
#pragma once

#include "core/cuda/wgmma.cuh"
#include "mixers/mamba3/scan_products.cuh"

namespace mamba3::cuda::scan {

/// A warp group multiplies 64 rows at once: 64 values of P.
template <typename S>
constexpr bool kByGroup = kWarpgroupProducts&& S::kSlice == 64;

/// Starts score += q k and y += q h.
template <typename S>
__device__ inline void start_reading(std::uint32_t q, std::uint32_t k, std::uint32_t h, Rows<S>& rows) {
  const std::uint64_t left = describe(q, 0), keys = describe(k, 0), state = describe(h, 0);
#pragma unroll
  for (int step = 0; step < kColumns / 16; ++step) {
    const std::uint64_t panel = step / 4 * kKeysPanel >> 4, piece = step % 4 * 32 >> 4;
    multiply_add_group(rows.score, left + panel + piece, keys + panel + piece);
    multiply_add_group(rows.y, left + panel + piece, state + panel + piece);
  }
  commit_products();
}

/// Starts h += left k.
template <typename S>
__device__ inline void start_adding_keys(std::uint32_t k, const std::uint32_t (&left)[kRows / 16][4],
                                         float (&h)[S::kTilesN][4]) {
  const std::uint64_t keys = describe(k, kKeysPanel);
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    multiply_add_group(h, left[step], keys + (step * 16 * kRowBytes >> 4));
  }
  commit_products();
}

/// Starts y += score v, score as bf16.
template <typename S>
__device__ inline void start_adding_values(std::uint32_t v, Rows<S>& rows) {
  std::uint32_t left[kRows / 16][4];
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    pack_scores(rows.score[2 * step], rows.score[2 * step + 1], left[step]);
  }
  const std::uint64_t values = describe(v, 0);
  hold(left), hold(rows.y);
  fence_products();
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    multiply_add_group(rows.y, left[step], values + (step * 16 * kRowBytes >> 4));
  }
  commit_products();
}

}  // namespace mamba3::cuda::scan
