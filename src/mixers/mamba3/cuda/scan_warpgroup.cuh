// A chunk's products as those of whole warp groups (sm_90a): operands stay in shared memory, and the state
// moves on while scores are weighed.
#pragma once

#include "core/cuda/wgmma.cuh"
#include "mixers/mamba3/cuda/scan_products.cuh"

namespace mamba3::cuda::scan {

/// A warp group multiplies 64 rows at once: 64 values of P.
template <typename S>
constexpr bool kByGroup = kWarpgroupProducts&& S::kSlice == 64;

/// Starts score += q k and y += q h.
template <typename S>
__device__ inline void start_reading(std::uint32_t q, std::uint32_t k, std::uint32_t h, Rows<S>& rows) {
  const SharedMatrix queries(q, 0), keys(k, 0), state(h, 0);
#pragma unroll
  for (int step = 0; step < kColumns / 16; ++step) {
    const int skipped = step / 4 * kKeysPanel + step % 4 * 32;
    const SharedMatrix left(queries, skipped);
    multiply_add_group(rows.score, left, SharedMatrix(keys, skipped));
    multiply_add_group(rows.y, left, SharedMatrix(state, skipped));
  }
  commit_products();
}

/// Starts h += left k.
template <typename S>
__device__ inline void start_adding_keys(std::uint32_t k, const std::uint32_t (&left)[kRows / 16][4],
                                         float (&h)[S::kTilesN][4]) {
  const SharedMatrix keys(k, kKeysPanel);
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    multiply_add_group(h, left[step], SharedMatrix(keys, step * 16 * kRowBytes));
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
  const SharedMatrix values(v, 0);
  hold(left), hold(rows.y);
  fence_products();
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    multiply_add_group(rows.y, left[step], SharedMatrix(values, step * 16 * kRowBytes));
  }
  commit_products();
}

}  // namespace mamba3::cuda::scan
