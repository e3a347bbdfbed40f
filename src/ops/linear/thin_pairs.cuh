// Products by multiply-adds in float32: matrices that steer the dynamics, and plain types whose rows are not
// aligned. A block takes two rows of W at a time, its threads share the inputs.
#pragma once

#include "ops/linear/thin_input.cuh"

namespace mamba3::cuda::thin {

/// Rows of activations that a thread takes together.
inline constexpr int kPairInputs = 2;

/// The rows of W of a pair: neighbours, or (SwiGLU) one of each matrix.
template <typename W>
struct PairRows {
  const W* row[kPairRows];

  __device__ PairRows(const Segment& s, int pair, int cols) {
    for (int i = 0; i < kPairRows; ++i) {
      const int m = min(pair * s.step + i * s.second, s.rows - 1);
      row[i] = reinterpret_cast<const W*>(s.planes[i][0]) + static_cast<std::int64_t>(m) * cols;
    }
  }
};

/// A pair's weights at a thread's first inputs.
template <int kWidth>
struct PairPieces {
  Piece<kWidth> row[kPairRows] = {};

  template <typename W>
  __device__ void read(const PairRows<W>& rows, int k) {
    for (int i = 0; i < kPairRows; ++i) row[i] = read_piece<kWidth>(rows.row[i] + k);
  }
};

__device__ inline void store_pair(const Arguments& a, const Segment& s, int pair, const float* partial) {
  const int n = threadIdx.x / kPairRows, i = threadIdx.x % kPairRows, m = pair * s.step + i * s.second;
  if (n >= a.rows || m >= s.rows || (s.swiglu && i == 1)) return;
  float value[kPairRows] = {};
  for (int w = 0; w < kWarps; ++w) {
    const float* of = partial + (w * kMostThinRows + n) * kPairRows;
    value[0] += of[i];
    value[1] += of[1];
  }
  put_output(s, n, m, old_output(s, n, m) + (s.swiglu ? value[0] * silu(value[1]) : value[0]));
}

/// One pair. partial: [kWarps, kMostThinRows, kPairRows] floats of shared memory.
template <typename W, typename T, int kWidth>
__device__ void multiply_pair(const Arguments& a, const Segment& s, int pair, const RowNorm* norms,
                              const NormWeights<T, kWidth>& early_norm,
                              const PairPieces<kWidth>& early_weights, float* partial) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, begin = threadIdx.x * kWidth;
  const PairRows<W> rows(s, pair, a.cols);
  for (int first = 0; first < a.rows; first += kPairInputs) {
    float sum[kPairInputs][kPairRows] = {};
    for (int k = begin; k < a.cols; k += kThreads * kWidth) {
      PairPieces<kWidth> w = early_weights;
      if (k > begin) w.read(rows, k);
      const NormWeights<T, kWidth> weights = k == begin ? early_norm : NormWeights<T, kWidth>(a, k);
      Piece<kWidth> x[kPairInputs];
#pragma unroll
      for (int i = 0; i < kPairInputs; ++i) {
        if (first + i < a.rows) x[i] = read_piece<kWidth>(row_of<T>(a, first + i) + k);
      }
#pragma unroll
      for (int i = 0; i < kPairInputs; ++i) {
        if (first + i >= a.rows) break;
        weights.apply(a, norms[first + i], 1, x[i]);
        for (int j = 0; j < kWidth; ++j) {
          for (int r = 0; r < kPairRows; ++r) sum[i][r] += w.row[r].v[j] * x[i].v[j];
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kPairInputs; ++i) {
      if (first + i >= a.rows) break;
      for (int r = 0; r < kPairRows; ++r) {
        const float total = warp_sum(sum[i][r]);
        if (lane == 0) partial[(warp * kMostThinRows + first + i) * kPairRows + r] = total;
      }
    }
  }
  __syncthreads();
  store_pair(a, s, pair, partial);
}

/// The pairs of a block, one after the other; the first one's weights are read when this is made.
template <typename W, typename T, int kWidth>
class PairWork {
 public:
  __device__ explicit PairWork(const Arguments& a) : a_(a) {
    if (blockIdx.x < a.pairs) read_early(blockIdx.x);
  }
  __device__ void run(const RowNorm* norms, const NormWeights<T, kWidth>& early_norm, float* partial) {
    for (int pair = blockIdx.x; pair < a_.pairs; pair += gridDim.x) {
      const Segment& s = segment(pair);
      multiply_pair<W, T, kWidth>(a_, s, pair - s.first_tile, norms, early_norm, early_, partial);
      if (pair + gridDim.x < a_.pairs) {
        read_early(pair + gridDim.x);
        __syncthreads();
      }
    }
  }

 private:
  __device__ const Segment& segment(int pair) const {
    return segment_of(a_.segment + a_.segments, a_.pair_segments, pair);
  }
  __device__ void read_early(int pair) {
    const Segment& s = segment(pair);
    const int k = threadIdx.x * kWidth;
    if (k < a_.cols) early_.read(PairRows<W>(s, pair - s.first_tile, a_.cols), k);
  }

  const Arguments& a_;
  PairPieces<kWidth> early_;
};

}  // namespace mamba3::cuda::thin
