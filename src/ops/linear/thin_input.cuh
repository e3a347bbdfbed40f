// The rows of activations: their norm, and how they lie in shared memory as the right operand.
#pragma once

#include <cuda_bf16.h>

#include <type_traits>

#include "ops/linear/thin_arguments.cuh"
#include "ops/linear/thin_instructions.cuh"

namespace mamba3::cuda::thin {

/// In which order the four threads of a quad take 32 inputs, eight each: thread t's are 8 t ..., or 4 t ...
/// and 16 + 4 t ...
enum class Order { eights, fours };

/// Values of a row that a thread takes at a time: 16 bytes of bf16.
inline constexpr int kPiece = 8;
/// Rows that a thread takes together, so that their loads overlap.
inline constexpr int kRowsAtOnce = 4;

template <int kWidth>
struct Piece {
  float v[kWidth];
};

/// kWidth: kPiece, aligned to 16 bytes, or 1.
template <int kWidth>
__device__ inline Piece<kWidth> read_piece(const float* from) {
  Piece<kWidth> piece;
  if constexpr (kWidth == 1) {
    piece.v[0] = *from;
  } else {
    for (int i = 0; i < kWidth; i += 4) {
      *reinterpret_cast<float4*>(piece.v + i) = *reinterpret_cast<const float4*>(from + i);
    }
  }
  return piece;
}
template <int kWidth, typename Half>
__device__ inline Piece<kWidth> read_piece(const Half* from) {
  struct alignas(sizeof(Half) * kWidth) Halves {
    Half v[kWidth];
  };
  const Halves halves = *reinterpret_cast<const Halves*>(from);
  Piece<kWidth> piece;
  for (int i = 0; i < kWidth; ++i) piece.v[i] = static_cast<float>(halves.v[i]);
  return piece;
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
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int first = 0; first < a.rows; first += kRowsAtOnce) {
    float value[kRowsAtOnce] = {};
    for (int k = threadIdx.x * kWidth; k < a.cols; k += kThreads * kWidth) {
      Piece<kWidth> piece[kRowsAtOnce];
#pragma unroll
      for (int i = 0; i < kRowsAtOnce; ++i) {
        if (first + i < a.rows) piece[i] = read_piece<kWidth>(row_of<T>(a, first + i) + k);
      }
#pragma unroll
      for (int i = 0; i < kRowsAtOnce; ++i) {
        if (first + i >= a.rows) break;
        const float mean = kStatistic == Statistic::squares ? mean_of(a, found, first + i) : 0;
        for (const float x : piece[i].v) {
          if constexpr (kStatistic == Statistic::sum) value[i] += x;
          if constexpr (kStatistic == Statistic::squares) value[i] += (x - mean) * (x - mean);
          if constexpr (kStatistic == Statistic::largest) value[i] = fmaxf(value[i], fabsf(x));
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kRowsAtOnce; ++i) {
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

template <bool kHalf>
__device__ inline std::uint32_t pack(float low, float high) {
  if constexpr (kHalf) return as_bits(__floats2half2_rn(low, high));
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  std::uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

/// Where a group's sums lie: [blocks of 8 groups][rows][4 pairs of groups][high pair, low pair] in float16.
/// High and low make up the float32 sum: the offsets of quantized groups lose nothing.
__device__ inline void put_sum(std::byte* sums, int rows, int n, int group, float sum) {
  const __half high = __float2half(sum), low = __float2half(sum - __half2float(high));
  std::byte* at = sums + ((group / 8) * rows + n) * 32 + (group % 8 / 2) * 8 + (group % 2) * 2;
  *reinterpret_cast<__half*>(at) = high;
  *reinterpret_cast<__half*>(at + 4) = low;
}

/// Writes 8 inputs from k on of row n to `to`, [groups of 32 inputs][rows][4 threads of a quad][8], and with
/// kSums the sum of each group, made by the four threads that have its parts.
template <bool kHalf, Order kOrder, bool kSums>
__device__ inline void put_piece(const Piece<kPiece>& piece, int rows, int n, int k, std::byte* to,
                                 std::byte* sums) {
  std::uint32_t words[4];
  for (int i = 0; i < 4; ++i) words[i] = pack<kHalf>(piece.v[2 * i], piece.v[2 * i + 1]);
  const int group = k / 32, quarter = k / kPiece % 4;
  std::byte* at = to + (group * rows + n) * 64;
  if constexpr (kOrder == Order::eights) {
    *reinterpret_cast<uint4*>(at + quarter * 16) = {words[0], words[1], words[2], words[3]};
  } else {
    at += quarter % 2 * 32 + quarter / 2 * 8;
    *reinterpret_cast<uint2*>(at) = {words[0], words[1]};
    *reinterpret_cast<uint2*>(at + 16) = {words[2], words[3]};
  }
  if constexpr (kSums) {  // of the values as rounded
    float sum = 0;
    for (const std::uint32_t word : words) {
      const float2 pair = __half22float2(as_half2(word));
      sum += pair.x + pair.y;
    }
    const unsigned quad = 0xfu << (threadIdx.x % 32 & ~3u);
    sum += __shfl_xor_sync(quad, sum, 1);
    sum += __shfl_xor_sync(quad, sum, 2);
    if (quarter == 0) put_sum(sums, rows, n, group, sum);
  }
}

/// Stages u as 16-bit values, zeros from `cols` to `padded` (a multiple of 64), and keeps the norms. `early`:
/// gain and bias at this thread's first inputs.
template <typename T, bool kHalf, Order kOrder, bool kSums>
__device__ void stage_input(const Arguments& a, const NormWeights<T, kPiece>& early, const Statistics& found,
                            RowNorm* norms, int padded, std::byte* to, std::byte* sums) {
  const int begin = threadIdx.x * kPiece;
  for (int first = 0; first < a.rows; first += kRowsAtOnce) {
    for (int k = begin; k < padded; k += kThreads * kPiece) {
      const bool inside = k < a.cols;
      Piece<kPiece> piece[kRowsAtOnce] = {};
#pragma unroll
      for (int i = 0; i < kRowsAtOnce; ++i) {
        if (inside && first + i < a.rows) piece[i] = read_piece<kPiece>(row_of<T>(a, first + i) + k);
      }
      const NormWeights<T, kPiece> weights = k == begin ? early : NormWeights<T, kPiece>(a, k);
#pragma unroll
      for (int i = 0; i < kRowsAtOnce; ++i) {
        if (first + i >= a.rows) break;
        const RowNorm norm = norm_of<T, kHalf>(a, found, first + i);
        if (inside) weights.apply(a, norm, norm.up, piece[i]);
        if (k == 0) norms[first + i] = norm;
        put_piece<kHalf, kOrder, kSums>(piece[i], a.rows, first + i, k, to, sums);
      }
    }
  }
  __syncthreads();
}

}  // namespace mamba3::cuda::thin
