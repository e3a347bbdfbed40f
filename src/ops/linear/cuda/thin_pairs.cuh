// Products by multiply-adds in float32: matrices that steer the dynamics, and plain types whose rows are not
// aligned. A block takes two rows of W at a time, its threads share the inputs.
#pragma once

#include "ops/linear/cuda/thin_input.cuh"

namespace mamba3::cuda::thin {

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

/// A pair's weights at some inputs.
template <int kWidth>
struct PairPieces {
  Piece<kWidth> row[kPairRows] = {};

  __device__ void add(const Piece<kWidth>& u, float (&sum)[kPairRows]) const {
    for (int j = 0; j < kWidth; ++j) {
      for (int r = 0; r < kPairRows; ++r) sum[r] += row[r].v[j] * u.v[j];
    }
  }

  template <typename W>
  __device__ void read(const PairRows<W>& rows, int k) {
    for (int i = 0; i < kPairRows; ++i) row[i] = read_piece<kWidth>(rows.row[i] + k);
  }
};

/// What each warp finds of a pair's outputs.
using PairSums = float[kWarps][kMostThinRows][kPairRows];

/// Adds up and stores a pair's outputs, once its sums are all there.
template <typename T>
__device__ inline void store_pair(const Arguments& a, const Segment& s, int pair, const Statistics& found,
                                  const PairSums& sums) {
  const int n = threadIdx.x / kPairRows, i = threadIdx.x % kPairRows, m = pair * s.step + i * s.second;
  if (n >= a.rows || m >= s.rows || (s.swiglu && i == 1)) return;
  float value[kPairRows] = {};
  for (const auto& of_warp : sums) {
    value[0] += of_warp[n][i];
    value[1] += of_warp[n][1];
  }
  const float factor = factor_after<T>(a, found, n);
  const float out = s.swiglu ? value[0] * factor * silu(value[1] * factor) : value[0] * factor;
  put_output(s, n, m, old_output(s, n, m) + out);
}

__device__ inline void put_pair_sums(int n, const float (&of_thread)[kPairRows], PairSums& sums) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int r = 0; r < kPairRows; ++r) {
    const float total = warp_sum(of_thread[r]);
    if (lane == 0) sums[warp][n][r] = total;
  }
}

/// A block's first pair: its weights are read before the activations are there, its sums made while these are
/// staged, its outputs stored at the end.
template <typename W, int kWidth>
class FirstPair {
 public:
  __device__ FirstPair(const Arguments& a, PairSums& sums)
      : a_(a), sums_(sums), pair_(blockIdx.x), exists_(pair_ < a.pairs) {
    read(threadIdx.x * kWidth);
  }
  __device__ bool exists() const { return exists_; }
  __device__ void read(int k) {
    if (!exists_ || k >= a_.cols) return;
    const Segment& s = segment();
    pieces_.read(PairRows<W>(s, pair_ - s.first_tile, a_.cols), k);
  }
  __device__ void add(const Piece<kWidth>& u, float (&sum)[kPairRows]) const { pieces_.add(u, sum); }
  __device__ void put(int n, const float (&of_thread)[kPairRows]) { put_pair_sums(n, of_thread, sums_); }
  /// With a barrier since put().
  template <typename T>
  __device__ void store(const Statistics& found) const {
    if (!exists_) return;
    const Segment& s = segment();
    store_pair<T>(a_, s, pair_ - s.first_tile, found, sums_);
  }

 private:
  __device__ const Segment& segment() const {
    return segment_of(a_.segment + a_.segments, a_.pair_segments, pair_);
  }

  const Arguments& a_;
  PairSums& sums_;
  int pair_;
  bool exists_;
  PairPieces<kWidth> pieces_;
};

/// One pair, from the activations in memory; its rows of activations one after the other.
template <typename W, typename T, int kWidth>
__device__ void multiply_pair(const Arguments& a, const Segment& s, int pair, const Statistics& found,
                              PairSums& sums) {
  const PairRows<W> rows(s, pair, a.cols);
  for (int n = 0; n < a.rows; ++n) {
    const RowNorm norm = norm_of<T>(a, found, n);
    float sum[kPairRows] = {};
#pragma unroll 1
    for (int k = threadIdx.x * kWidth; k < a.cols; k += kThreads * kWidth) {
      PairPieces<kWidth> w;
      w.read(rows, k);
      Piece<kWidth> u = read_piece<kWidth>(row_of<T>(a, n) + k);
      NormWeights<T, kWidth>(a, k).apply(a, norm, u);
      w.add(u, sum);
    }
    put_pair_sums(n, sum, sums);
  }
  __syncthreads();
  store_pair<T>(a, s, pair, found, sums);
  __syncthreads();
}

/// A block's pairs from `pair` on.
template <typename W, typename T, int kWidth>
__device__ void multiply_pairs(const Arguments& a, int pair, const Statistics& found, PairSums& sums) {
  for (; pair < a.pairs; pair += gridDim.x) {
    const Segment& s = segment_of(a.segment + a.segments, a.pair_segments, pair);
    multiply_pair<W, T, kWidth>(a, s, pair - s.first_tile, found, sums);
  }
}

}  // namespace mamba3::cuda::thin
