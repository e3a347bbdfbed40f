// What the threads of a block do together.
#pragma once

namespace mamba3::cuda {

inline constexpr int kSampleThreads = 1024;

/// Sum of the values of all threads up to and including this one; `warps` [32] is shared.
template <typename T>
__device__ T block_prefix(T v, T* warps) {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (unsigned step = 1; step < 32; step *= 2) {
    const T below = __shfl_up_sync(~0u, v, step);
    if (lane >= step) v += below;
  }
  __syncthreads();  // an earlier call has read `warps`
  if (lane == 31) warps[warp] = v;
  __syncthreads();
  T before = 0;
  for (unsigned w = 0; w < warp; ++w) before += warps[w];
  return before + v;
}

/// The smallest of the values of all threads; `warps` [32] is shared.
template <typename T>
__device__ T block_min(T v, T* warps) {
  for (int step = 16; step > 0; step /= 2) {
    const T other = __shfl_xor_sync(~0u, v, step);
    v = other < v ? other : v;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  for (int w = 0; w < kSampleThreads / 32; ++w) v = warps[w] < v ? warps[w] : v;
  return v;
}

}  // namespace mamba3::cuda
