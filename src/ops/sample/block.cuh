// What the 1,024 threads of a block do together; `warps` [32] is shared.
#pragma once

namespace mamba3::cuda {

inline constexpr int kSampleThreads = 1024;
static_assert(kSampleThreads == 32 * 32, "a value of each warp is a warp's work");

template <typename T>
__device__ T warp_prefix(T v) {
#pragma unroll
  for (unsigned step = 1; step < 32; step *= 2) {
    const T below = __shfl_up_sync(~0u, v, step);
    if (threadIdx.x % 32 >= step) v += below;
  }
  return v;
}

template <typename T>
__device__ T warp_min(T v) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const T other = __shfl_xor_sync(~0u, v, step);
    v = other < v ? other : v;
  }
  return v;
}

/// Sum of the values of all threads up to and including this one.
template <typename T>
__device__ T block_prefix(T v, T* warps) {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  v = warp_prefix(v);
  __syncthreads();  // an earlier call has read `warps`
  if (lane == 31) warps[warp] = v;
  __syncthreads();
  const T sums = warp_prefix(warps[lane]);
  const T before = __shfl_sync(~0u, sums, warp == 0 ? 0 : warp - 1);
  return warp == 0 ? v : before + v;
}

/// The smallest of the values of all threads.
template <typename T>
__device__ T block_min(T v, T* warps) {
  v = warp_min(v);
  __syncthreads();
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  return warp_min(warps[threadIdx.x % 32]);
}

}  // namespace mamba3::cuda
