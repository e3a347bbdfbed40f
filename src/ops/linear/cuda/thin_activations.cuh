// The activations as the right operand of the matrix units: in shared memory, in 16 bits.
#pragma once

#include "ops/linear/cuda/thin_pairs.cuh"

namespace mamba3::cuda::thin {

/// In which order the four threads of a quad take 32 inputs, eight each: thread t's are 8 t ..., the same
/// with the second and third of each four exchanged, or 4 t ... and 16 + 4 t ...
enum class Order { eights, exchanged_eights, fours };

/// Inputs that have a scale of their own in float16: what the threads of a warp stage together.
inline constexpr int kScaledInputs = 32 * kPiece;

/// Where the activations lie in shared memory: `values` [groups of 32 inputs][rows][4 threads of a quad][8];
/// for float16 `scales` [kScaledInputs][rows] float32, u being scale times value; for types with offsets
/// `sums` [kScaledInputs][rows][4 pairs of groups][high pair, low pair] float16, the sums of each group's
/// values: high and low make up the float32 sum, so that offsets lose nothing.
struct Staged {
  std::byte *values, *scales, *sums;
};

/// The power of two that brings values up to `largest` below 2^10, so that sums of 32 of them are float16
/// too, and its inverse.
struct HalfScale {
  float up, down;

  __device__ explicit HalfScale(float largest) {
    const int exponent = static_cast<int>(__float_as_uint(largest) >> 23);
    const int raised = max(1, min(253, 263 - exponent));
    up = __uint_as_float(static_cast<std::uint32_t>(raised) << 23);
    down = __uint_as_float(static_cast<std::uint32_t>(254 - raised) << 23);
  }
};

__device__ inline float largest_of(const Piece<kPiece>& piece) {
  float largest = 0;
  for (const float v : piece.v) largest = fmaxf(largest, fabsf(v));
  // Floats that are not negative compare like their bits; NaN is above all.
  return __uint_as_float(__reduce_max_sync(0xffffffff, __float_as_uint(largest)));
}

template <bool kHalf>
__device__ inline std::uint32_t pack(float low, float high) {
  if constexpr (kHalf) return as_bits(__floats2half2_rn(low, high));
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  std::uint32_t bits;
  memcpy(&bits, &pair, sizeof bits);
  return bits;
}

/// The sum of a group, made by the four threads that have its parts, of the values as rounded.
__device__ inline void put_sum(const std::uint32_t (&words)[4], int rows, int n, int k, std::byte* sums) {
  float sum = 0;
  for (const std::uint32_t word : words) {
    const float2 pair = __half22float2(as_half2(word));
    sum += pair.x + pair.y;
  }
  sum += __shfl_xor_sync(0xffffffff, sum, 1);
  sum += __shfl_xor_sync(0xffffffff, sum, 2);
  if (k / kPiece % 4 != 0) return;
  const int group = k / 32;
  const __half high = __float2half(sum), low = __float2half(sum - __half2float(high));
  std::byte* at = sums + ((group / 8) * rows + n) * 32 + (group % 8 / 2) * 8 + (group % 2) * 2;
  *reinterpret_cast<__half*>(at) = high;
  *reinterpret_cast<__half*>(at + 4) = low;
}

/// Eight 16-bit inputs of row n, from k on.
template <Order kOrder>
__device__ inline void put_words(const std::uint32_t (&words)[4], int rows, int n, int k, const Staged& to) {
  const int group = k / 32, quarter = k / kPiece % 4;
  std::byte* at = to.values + (group * rows + n) * 64;
  if constexpr (kOrder != Order::fours) {
    *reinterpret_cast<uint4*>(at + quarter * 16) = {words[0], words[1], words[2], words[3]};
  } else {
    at += quarter % 2 * 32 + quarter / 2 * 8;
    *reinterpret_cast<uint2*>(at) = {words[0], words[1]};
    *reinterpret_cast<uint2*>(at + 16) = {words[2], words[3]};
  }
}

/// Rounds and stages eight inputs; the whole warp takes part.
template <bool kHalf, Order kOrder, bool kSums>
__device__ inline void put_piece(const Piece<kPiece>& piece, int rows, int n, int k, const Staged& to) {
  float up = 1;
  if constexpr (kHalf) {
    const HalfScale scale(largest_of(piece));
    up = scale.up;
    if (threadIdx.x % 32 == 0) reinterpret_cast<float*>(to.scales)[k / kScaledInputs * rows + n] = scale.down;
  }
  std::uint32_t words[4];
  for (int i = 0; i < 4; ++i) {
    const int first = kOrder == Order::exchanged_eights ? i + i / 2 * 2 : 2 * i;
    const int second = kOrder == Order::exchanged_eights ? first + 2 : first + 1;
    words[i] = pack<kHalf>(piece.v[first] * up, piece.v[second] * up);
  }
  put_words<kOrder>(words, rows, n, k, to);
  if constexpr (kSums) put_sum(words, rows, n, k, to.sums);
}

/// Stages u, zeros from `cols` to `padded` (a multiple of kScaledInputs), sums up squares for RMSNorm, and
/// has the block's first pair take part, as the values pass. `early`: gain and bias at this thread's first
/// inputs.
template <typename T, int kMostRows, bool kHalf, Order kOrder, bool kSums>
__device__ void stage_input(const Arguments& a, const NormWeights<T, kPiece>& early,
                            FirstPair<float, kPiece>& pair, int padded, Statistics& found, const Staged& to) {
  constexpr int kRows = kRowsAtOnce<T, kMostRows>;
  const int all = kMostRows == 1 ? 1 : a.rows;
  const int begin = threadIdx.x * kPiece;
  for (int first = 0; first < all; first += kRows) {
    float squares[kRows] = {}, pair_sum[kRows][kPairRows] = {};
#pragma unroll 1
    for (int k = begin; k < padded; k += kThreads * kPiece) {
      const bool inside = k < a.cols;
      Values<T, kPiece> values[kRows] = {};
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (inside && first + i < all) values[i] = read_values<kPiece>(row_of<T>(a, first + i) + k);
      }
      const NormWeights<T, kPiece> weights = k == begin ? early : NormWeights<T, kPiece>(a, k);
      if (k > begin) pair.read(k);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (first + i >= all) break;
        Piece<kPiece> piece = values[i].floats();
        if constexpr (std::is_same_v<T, float>) {
          for (const float x : piece.v) squares[i] += x * x;
          if (inside) weights.apply(a, norm_of<T>(a, found, first + i), piece);
        }
        if constexpr (kHalf || std::is_same_v<T, float>) {
          put_piece<kHalf, kOrder, kSums>(piece, all, first + i, k, to);
        } else {  // as it is
          std::uint32_t words[4];
          memcpy(words, &values[i], sizeof words);
          put_words<kOrder>(words, all, first + i, k, to);
        }
        if (pair.exists()) pair.add(piece, pair_sum[i]);
      }
    }
    if (a.cols > kThreads * kPiece) pair.read(begin);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (first + i >= all) break;
      if (is_normed<T>(a) && !is_layer_norm<T>(a)) {
        const float of_warp = warp_sum(squares[i]);
        if (threadIdx.x % 32 == 0) found.squares[first + i][threadIdx.x / 32] = of_warp;
      }
      if (pair.exists()) pair.put(first + i, pair_sum[i]);
    }
  }
  __syncthreads();
}

}  // namespace mamba3::cuda::thin
