// The rows of activations: their norm, and how they lie in shared memory as the right operand.
#pragma once

#include <cuda_bf16.h>

#include <type_traits>

#include "ops/linear/cuda/thin_arguments.cuh"
#include "ops/linear/cuda/thin_instructions.cuh"

namespace mamba3::cuda::thin {

/// Values of a row that a thread takes at a time: 16 bytes of bf16.
inline constexpr int kPiece = 8;
/// Rows that a thread takes together, so that their loads overlap: 32 registers of values.
template <typename T, int kMostRows>
inline constexpr int kRowsAtOnce = kMostRows == 1 ? 1 : 16 / sizeof(T);

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

/// What each warp finds of each row: the sum of its values, and of the squares of what is left without the
/// mean (LayerNorm).
struct Statistics {
  float sum[kMostThinRows][kWarps], squares[kMostThinRows][kWarps];
};

__device__ inline float total_of(const float (&of_warps)[kWarps]) {
  float total = 0;
  for (const float value : of_warps) total += value;
  return total;
}

/// LayerNorm is (x - mean) factor gain + bias. RMSNorm's factor comes after the product, when the squares are
/// summed up: till then it is x gain.
struct RowNorm {
  float mean = 0, factor = 1;
};

template <typename T>
__device__ inline bool is_layer_norm(const Arguments& a) {
  return is_normed<T>(a) && a.input.bias != nullptr;
}
__device__ inline float inverse_deviation(const Arguments& a, const Statistics& found, int n) {
  return rsqrtf(total_of(found.squares[n]) * a.inverse_cols + a.input.eps);
}
template <typename T>
__device__ inline RowNorm norm_of(const Arguments& a, const Statistics& found, int n) {
  if (!is_layer_norm<T>(a)) return {};
  return {total_of(found.sum[n]) * a.inverse_cols, inverse_deviation(a, found, n)};
}
/// What a row's sums are multiplied by.
template <typename T>
__device__ inline float factor_after(const Arguments& a, const Statistics& found, int n) {
  return is_normed<T>(a) && !is_layer_norm<T>(a) ? inverse_deviation(a, found, n) : 1.0f;
}

/// Sums up x, or with kSquares (x - mean)^2. Each thread's values come in the same order whatever the number
/// of rows.
template <typename T, bool kSquares, int kWidth>
__device__ void reduce_rows(const Arguments& a, Statistics& found) {
#pragma unroll 1
  for (int n = 0; n < a.rows; ++n) {
    const float mean = kSquares && is_layer_norm<T>(a) ? total_of(found.sum[n]) * a.inverse_cols : 0.0f;
    float value = 0;
#pragma unroll 1
    for (int k = threadIdx.x * kWidth; k < a.cols; k += kThreads * kWidth) {
      for (const float x : read_piece<kWidth>(row_of<T>(a, n) + k).v) {
        value += kSquares ? (x - mean) * (x - mean) : x;
      }
    }
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) (kSquares ? found.squares : found.sum)[n][threadIdx.x / 32] = value;
  }
  __syncthreads();
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
  __device__ void apply(const Arguments& a, const RowNorm& norm, Piece<kWidth>& x) const {
    if (!is_normed<T>(a)) return;
    if (is_layer_norm<T>(a)) {
      for (int i = 0; i < kWidth; ++i) x.v[i] = (x.v[i] - norm.mean) * norm.factor * gain.v[i] + bias.v[i];
    } else {
      for (int i = 0; i < kWidth; ++i) x.v[i] *= gain.v[i];
    }
  }
};

}  // namespace mamba3::cuda::thin
