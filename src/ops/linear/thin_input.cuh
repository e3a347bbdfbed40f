// The rows of activations: their norm, and how they lie in shared memory as the right operand.
#pragma once

#include <cuda_bf16.h>

#include <type_traits>

#include "ops/linear/thin_arguments.cuh"
#include "ops/linear/thin_instructions.cuh"

namespace mamba3::cuda::thin {

/// Values of a row that a thread takes at a time: 16 bytes of bf16.
inline constexpr int kPiece = 8;
/// Rows that a thread takes together, so that their loads overlap: 32 registers of values.
template <typename T>
inline constexpr int kRowsAtOnce = 16 / sizeof(T);

template <int kWidth>
struct Piece {
  float v[kWidth];
};

/// Values as they lie in memory, aligned to at most 16 bytes; kWidth: kPiece or 1.
template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth < 16 ? sizeof(T) * kWidth : 16) Values {
  T v[kWidth];

  __device__ Piece<kWidth> floats() const {
    Piece<kWidth> piece;
    for (int i = 0; i < kWidth; ++i) piece.v[i] = static_cast<float>(v[i]);
    return piece;
  }
};

template <int kWidth, typename T>
__device__ inline Values<T, kWidth> read_values(const T* from) {
  return *reinterpret_cast<const Values<T, kWidth>*>(from);
}
template <int kWidth, typename T>
__device__ inline Piece<kWidth> read_piece(const T* from) {
  return read_values<kWidth>(from).floats();
}

template <typename T>
__device__ inline const T* row_of(const Arguments& a, int n) {
  const std::int64_t at = static_cast<std::int64_t>(n) * a.cols;
  if constexpr (std::is_same_v<T, float>) {
    return a.input.x + at;
  } else {
    return a.input.x_bf16 + at;
  }
}

/// Rows in bf16 are never normed.
template <typename T>
__device__ inline bool is_normed(const Arguments& a) {
  return std::is_same_v<T, float> && a.input.gain != nullptr;
}

/// What is summed up, or sought, over a row.
enum class Statistic { sum, squares, largest };

/// Shared memory for what each warp finds of each row: sums, and one of the other two.
struct Statistics {
  float sum[kMostThinRows][kWarps], other[kMostThinRows][kWarps];
};

__device__ inline float total_of(const float (&of_warps)[kWarps]) {
  float total = 0;
  for (const float value : of_warps) total += value;
  return total;
}

/// A row's mean for LayerNorm; RMSNorm subtracts none.
__device__ inline float mean_of(const Arguments& a, const Statistics& found, int n) {
  return a.input.bias == nullptr ? 0.0f : total_of(found.sum[n]) / static_cast<float>(a.cols);
}

/// Each thread's values come in the same order whatever the number of rows.
template <typename T, Statistic kStatistic, int kWidth>
__device__ void reduce_rows(const Arguments& a, Statistics& found) {
  constexpr int kRows = kRowsAtOnce<T>;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int first = 0; first < a.rows; first += kRows) {
    float value[kRows] = {};
    for (int k = threadIdx.x * kWidth; k < a.cols; k += kThreads * kWidth) {
      Values<T, kWidth> values[kRows];
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (first + i < a.rows) values[i] = read_values<kWidth>(row_of<T>(a, first + i) + k);
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (first + i >= a.rows) break;
        const float mean = kStatistic == Statistic::squares ? mean_of(a, found, first + i) : 0;
        for (const float x : values[i].floats().v) {
          if constexpr (kStatistic == Statistic::sum) value[i] += x;
          if constexpr (kStatistic == Statistic::squares) value[i] += (x - mean) * (x - mean);
          if constexpr (kStatistic == Statistic::largest) value[i] = fmaxf(value[i], fabsf(x));
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (first + i >= a.rows) break;
      const float of_warp = kStatistic == Statistic::largest ? warp_max(value[i]) : warp_sum(value[i]);
      if (lane == 0) {
        (kStatistic == Statistic::sum ? found.sum : found.other)[first + i][warp] = of_warp;
      }
    }
  }
  __syncthreads();
}

/// Finds what the norm, or the scale of float16 activations, needs to know of the rows.
template <typename T, bool kHalf, int kWidth>
__device__ void find_statistics(const Arguments& a, Statistics& found) {
  if (is_normed<T>(a)) {
    if (a.input.bias != nullptr) reduce_rows<T, Statistic::sum, kWidth>(a, found);
    reduce_rows<T, Statistic::squares, kWidth>(a, found);
  } else if constexpr (kHalf) {
    reduce_rows<T, Statistic::largest, kWidth>(a, found);
  }
}

/// u = (x - mean) factor gain + bias. Float16 activations are `up` u, and their products' sums times `down`.
struct RowNorm {
  float mean = 0, factor = 1, up = 1, down = 1;
};

/// Float16 activations of a row are brought below 2^10, so that sums of 32 of them are float16 too; by a
/// power of two, which costs no bit. A normed row needs no look at its values: 32 of them sum up to at most
/// sqrt(32 cols) times the gain, and a sixteenth of that fits for any sane gain.
__device__ inline void choose_scale(const float (&largest_of_warps)[kWarps], RowNorm& norm) {
  float largest = 0;
  for (const float value : largest_of_warps) largest = fmaxf(largest, value);
  const int exponent = static_cast<int>(__float_as_uint(largest) >> 23);
  const int up = max(1, min(253, 263 - exponent));
  norm.up = __uint_as_float(static_cast<std::uint32_t>(up) << 23);
  norm.down = __uint_as_float(static_cast<std::uint32_t>(254 - up) << 23);
}

template <typename T, bool kHalf>
__device__ inline RowNorm norm_of(const Arguments& a, const Statistics& found, int n) {
  RowNorm norm;
  if (is_normed<T>(a)) {
    norm.mean = mean_of(a, found, n);
    norm.factor = rsqrtf(total_of(found.other[n]) / static_cast<float>(a.cols) + a.input.eps);
    if (kHalf) norm.up = 0.0625f, norm.down = 16;
  } else if constexpr (kHalf) {
    choose_scale(found.other[n], norm);
  }
  return norm;
}

/// Gain and bias at some inputs; read before the rows of activations are there.
template <typename T, int kWidth>
struct NormWeights {
  Piece<kWidth> gain = {}, bias = {};

  __device__ NormWeights(const Arguments& a, int k) {
    if (!is_normed<T>(a) || k >= a.cols) return;
    gain = read_piece<kWidth>(a.input.gain + k);
    if (a.input.bias != nullptr) bias = read_piece<kWidth>(a.input.bias + k);
  }
  /// x becomes `scale` u.
  __device__ void apply(const Arguments& a, const RowNorm& norm, float scale, Piece<kWidth>& x) const {
    if (!is_normed<T>(a)) {
      for (float& v : x.v) v *= scale;
      return;
    }
    const float factor = norm.factor * scale;
    for (int i = 0; i < kWidth; ++i) x.v[i] = (x.v[i] - norm.mean) * factor * gain.v[i];
    if (a.input.bias == nullptr) return;
    for (int i = 0; i < kWidth; ++i) x.v[i] += bias.v[i] * scale;
  }
};

}  // namespace mamba3::cuda::thin
