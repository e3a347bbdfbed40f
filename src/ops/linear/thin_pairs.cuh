// Products by multiply-adds in float32: matrices that steer the dynamics, and plain types whose rows are not
// aligned. A block takes two rows of W at a time, its threads share the inputs.
#pragma once

#include "ops/linear/thin_input.cuh"

namespace mamba3::cuda::thin {

__device__ inline float to_float(float v) {
  return v;
}
__device__ inline float to_float(__half v) {
  return __half2float(v);
}
__device__ inline float to_float(__nv_bfloat16 v) {
  return __bfloat162float(v);
}

/// Values of a row that a thread takes at a time: 4 where rows are aligned to that many.
template <typename T, int kVector>
struct alignas(sizeof(T) * kVector) Values {
  T v[kVector];
};

/// The two rows of W of a pair: neighbours, or (SwiGLU) one of each matrix.
template <typename T>
__device__ inline const T* pair_row(const Segment& s, int pair, int i, int cols) {
  const int row = min(pair * s.step + (i == 0 ? 0 : s.second), s.rows - 1);
  return reinterpret_cast<const T*>(s.planes[i][0]) + static_cast<std::int64_t>(row) * cols;
}

/// partial: [kWarps, kPairRows * kMostThinRows] floats of shared memory.
template <typename T, int kVector>
__device__ void multiply_pair(const Arguments& a, const Segment& s, int pair, const RowNorm* norms,
                              float* partial) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float sum[kPairRows][kMostThinRows] = {};
  const T* W[kPairRows] = {pair_row<T>(s, pair, 0, a.cols), pair_row<T>(s, pair, 1, a.cols)};
  for (int k = threadIdx.x * kVector; k < a.cols; k += kThreads * kVector) {
    Values<T, kVector> w[kPairRows];
    for (int i = 0; i < kPairRows; ++i) w[i] = *reinterpret_cast<const Values<T, kVector>*>(W[i] + k);
#pragma unroll
    for (int n = 0; n < kMostThinRows; ++n) {
      if (n >= a.rows) break;
#pragma unroll
      for (int j = 0; j < kVector; ++j) {
        const float x = read_value(a.input, static_cast<std::int64_t>(n) * a.cols + k + j);
        const float u = normed(a.input, norms[n], x, k + j);
        for (int i = 0; i < kPairRows; ++i) sum[i][n] += to_float(w[i].v[j]) * u;
      }
    }
  }
#pragma unroll
  for (int n = 0; n < kMostThinRows; ++n) {
    if (n >= a.rows) break;
    for (int i = 0; i < kPairRows; ++i) {
      const float total = warp_sum(sum[i][n]);
      if (lane == 0) partial[warp * kPairRows * kMostThinRows + n * kPairRows + i] = total;
    }
  }
  __syncthreads();
  const int n = threadIdx.x / kPairRows, i = threadIdx.x % kPairRows, m = pair * s.step + (s.swiglu ? 0 : i);
  if (n < a.rows && m < s.rows && !(s.swiglu && i == 1)) {
    float value[kPairRows] = {};
    for (int w = 0; w < kWarps; ++w) {
      const float* of = partial + w * kPairRows * kMostThinRows + n * kPairRows;
      value[0] += of[i];
      value[1] += of[1];
    }
    put_output(s, n, m, old_output(s, n, m) + (s.swiglu ? value[0] * silu(value[1]) : value[0]));
  }
  __syncthreads();
}

/// The pairs of all of a launch's segments for multiply-adds.
template <typename T, int kVector>
__device__ void multiply_pairs(const Arguments& a, const RowNorm* norms, float* partial) {
  for (int pair = blockIdx.x; pair < a.pairs; pair += gridDim.x) {
    const Segment& s = segment_of(a.segment + a.segments, a.pair_segments, pair);
    multiply_pair<T, kVector>(a, s, pair - s.first_tile, norms, partial);
  }
}

}  // namespace mamba3::cuda::thin
