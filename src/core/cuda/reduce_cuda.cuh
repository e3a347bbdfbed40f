// Sums over the threads of a warp and of a block, in one fixed order.
#pragma once

namespace mamba3::cuda {

inline constexpr int kWarp = 32;

/// combine(a, b) over kLanes neighbouring lanes (a power of two), the same in each of them.
template <int kLanes = kWarp, typename T, typename Combine>
__device__ T warp_reduce(T value, const Combine& combine) {
#pragma unroll
  for (int apart = kLanes / 2; apart > 0; apart /= 2) {
    value = combine(value, __shfl_xor_sync(0xffffffff, value, apart));
  }
  return value;
}

/// The same over a block of kThreads threads, at most 32 warps of them; every thread calls it.
template <int kThreads, typename T, typename Combine>
__device__ T block_reduce(T value, const Combine& combine) {
  constexpr int kWarps = kThreads / kWarp;
  __shared__ T of_warp[kWarps];
  value = warp_reduce(value, combine);
  __syncthreads();  // the last call's values have been read
  if (threadIdx.x % kWarp == 0) of_warp[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = of_warp[0];
#pragma unroll
  for (int i = 1; i < kWarps; ++i) value = combine(value, of_warp[i]);
  return value;
}

struct Plus {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

struct Larger {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};

}  // namespace mamba3::cuda
