// The activations as the right operand of the matrix units: in shared memory, in 16 bits.
#pragma once

#include "ops/linear/thin_pairs.cuh"

namespace mamba3::cuda::thin {

/// In which order the four threads of a quad take 32 inputs, eight each: thread t's are 8 t ..., or 4 t ...
/// and 16 + 4 t ...
enum class Order { eights, fours };

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

/// Stages u as 16-bit values, zeros from `cols` to `padded` (a multiple of 64), keeps the norms, and has the
/// block's first pair take part, as the values pass. `early`: gain and bias at this thread's first inputs.
template <typename T, bool kHalf, Order kOrder, bool kSums>
__device__ void stage_input(const Arguments& a, const NormWeights<T, kPiece>& early, const Statistics& found,
                            FirstPair<float, kPiece>& pair, RowNorm* norms, int padded, std::byte* to,
                            std::byte* sums) {
  constexpr int kRows = kRowsAtOnce<T>;
  const int begin = threadIdx.x * kPiece;
  for (int first = 0; first < a.rows; first += kRows) {
    float pair_sum[kRows][kPairRows] = {};
    for (int k = begin; k < padded; k += kThreads * kPiece) {
      const bool inside = k < a.cols;
      Values<T, kPiece> values[kRows] = {};
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (inside && first + i < a.rows) values[i] = read_values<kPiece>(row_of<T>(a, first + i) + k);
      }
      const NormWeights<T, kPiece> weights = k == begin ? early : NormWeights<T, kPiece>(a, k);
      if (k > begin) pair.read(k);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (first + i >= a.rows) break;
        const RowNorm norm = norm_of<T, kHalf>(a, found, first + i);
        Piece<kPiece> piece = values[i].floats();
        if (inside) weights.apply(a, norm, norm.up, piece);
        if (k == 0) norms[first + i] = norm;
        put_piece<kHalf, kOrder, kSums>(piece, a.rows, first + i, k, to, sums);
        if (pair.exists()) pair.add(piece, pair_sum[i]);
      }
    }
    if (!pair.exists()) continue;
    if (a.cols > kThreads * kPiece) pair.read(begin);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (first + i < a.rows) pair.put(first + i, pair_sum[i]);
    }
  }
  __syncthreads();
}

}  // namespace mamba3::cuda::thin
