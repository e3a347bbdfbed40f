// The rows of activations: their norm, and how they lie in shared memory as the right operand.
#pragma once

#include <cuda_bf16.h>

#include "ops/linear/thin_arguments.cuh"
#include "ops/linear/thin_instructions.cuh"

namespace mamba3::cuda::thin {

/// In which order the four threads of a quad take 32 inputs, eight each: thread t's are 8 t ..., or 4 t ...
/// and 16 + 4 t ...
enum class Order { eights, fours };

/// u = (x - mean) factor gain + bias; float16 activations are `up` u, and sums of theirs are scaled `down`.
struct RowNorm {
  float mean, factor, up, down;
};

/// Values of a row that a thread takes at a time.
inline constexpr int kPiece = 8;

struct Piece {
  float v[kPiece];
};

__device__ inline void read_floats(const float* from, float* to) {
  *reinterpret_cast<float4*>(to) = *reinterpret_cast<const float4*>(from);
}

__device__ inline Piece read_piece(const ThinInput& input, std::int64_t at) {
  Piece piece;
  if (input.x != nullptr) {
    read_floats(input.x + at, piece.v);
    read_floats(input.x + at + 4, piece.v + 4);
  } else {
    const uint4 bits = *reinterpret_cast<const uint4*>(input.x_bf16 + at);
    const std::uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
    for (int i = 0; i < 4; ++i) {
      piece.v[2 * i] = __uint_as_float(words[i] << 16);
      piece.v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000);
    }
  }
  return piece;
}

__device__ inline float read_value(const ThinInput& input, std::int64_t at) {
  return input.x != nullptr ? input.x[at] : __bfloat162float(input.x_bf16[at]);
}

__device__ inline float normed(const ThinInput& input, const RowNorm& norm, float x, int k) {
  if (input.gain == nullptr) return x;
  const float u = (x - norm.mean) * norm.factor * input.gain[k];
  return input.bias == nullptr ? u : u + input.bias[k];
}

__device__ inline void norm_piece(const ThinInput& input, const RowNorm& norm, int k, Piece& piece) {
  if (input.gain == nullptr) return;
  Piece gain;
  read_floats(input.gain + k, gain.v);
  read_floats(input.gain + k + 4, gain.v + 4);
  for (int i = 0; i < kPiece; ++i) piece.v[i] = (piece.v[i] - norm.mean) * norm.factor * gain.v[i];
  if (input.bias == nullptr) return;
  Piece bias;
  read_floats(input.bias + k, bias.v);
  read_floats(input.bias + k + 4, bias.v + 4);
  for (int i = 0; i < kPiece; ++i) piece.v[i] += bias.v[i];
}

/// partial[row][warp] = the sum, or the maximum, over a row's values, each thread's in the same order
/// whatever the number of rows.
template <bool kMaximum, typename Term>
__device__ void reduce_rows(const Arguments& a, float* partial, const Term& term) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const bool whole = a.cols % kPiece == 0;
#pragma unroll 4
  for (int n = 0; n < a.rows; ++n) {
    const std::int64_t row = static_cast<std::int64_t>(n) * a.cols;
    float value = 0;
    const auto take = [&](float x) { value = kMaximum ? fmaxf(value, term(n, x)) : value + term(n, x); };
    if (whole) {
      for (int k = threadIdx.x * kPiece; k < a.cols; k += kThreads * kPiece) {
        const Piece piece = read_piece(a.input, row + k);
        for (const float x : piece.v) take(x);
      }
    } else {
      for (int k = threadIdx.x; k < a.cols; k += kThreads) take(read_value(a.input, row + k));
    }
    value = kMaximum ? warp_max(value) : warp_sum(value);
    if (lane == 0) partial[n * kWarps + warp] = value;
  }
  __syncthreads();
}

__device__ inline float sum_of_warps(const float* partial, int n) {
  float sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += partial[n * kWarps + w];
  return sum;
}

/// Float16 activations of a row are brought below 2^10, so that sums of 32 of them are float16 too; a
/// power of two, which costs no bit. A normed row needs no look at its values: 32 of its values sum up to at
/// most sqrt(32 cols) times the gain, and a sixteenth of that fits for any sane gain.
__device__ inline void choose_scale(float largest, RowNorm& norm) {
  const int exponent = static_cast<int>(__float_as_uint(largest) >> 23);
  const int up = max(1, min(253, 263 - exponent));
  norm.up = __uint_as_float(static_cast<std::uint32_t>(up) << 23);
  norm.down = __uint_as_float(static_cast<std::uint32_t>(254 - up) << 23);
}

/// norms[rows], for all threads. partial: [rows, kWarps] floats of shared memory.
template <bool kHalf>
__device__ void find_norms(const Arguments& a, float* partial, RowNorm* norms) {
  const int n = threadIdx.x;
  if (n < a.rows) norms[n] = {0, 1, 1, 1};
  if (a.input.gain != nullptr) {
    const float count = static_cast<float>(a.cols);
    if (a.input.bias != nullptr) {
      reduce_rows<false>(a, partial, [](int, float x) { return x; });
      if (n < a.rows) norms[n].mean = sum_of_warps(partial, n) / count;
    }
    __syncthreads();
    reduce_rows<false>(a, partial, [&](int row, float x) {
      const float off = x - norms[row].mean;
      return off * off;
    });
    if (n < a.rows) {
      norms[n].factor = rsqrtf(sum_of_warps(partial, n) / count + a.input.eps);
      if (kHalf) norms[n].up = 0.0625f, norms[n].down = 16;
    }
  } else if (kHalf) {
    reduce_rows<true>(a, partial, [](int, float x) { return fabsf(x); });
    if (n < a.rows) {
      float largest = 0;
      for (int w = 0; w < kWarps; ++w) largest = fmaxf(largest, partial[n * kWarps + w]);
      choose_scale(largest, norms[n]);
    }
  }
  __syncthreads();
}

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

/// Writes u as 16-bit values to `to`, [groups of 32 inputs][rows][4 threads of a quad][8], zeros from `cols`
/// to `padded` (a multiple of 64), and with kSums the sums of each group.
template <bool kHalf, Order kOrder, bool kSums>
__device__ void stage_input(const Arguments& a, const RowNorm* norms, int padded, std::byte* to,
                            std::byte* sums) {
#pragma unroll 4
  for (int n = 0; n < a.rows; ++n) {
    const RowNorm norm = norms[n];
    for (int k = threadIdx.x * kPiece; k < padded; k += kThreads * kPiece) {
      Piece piece = {};
      if (k < a.cols) {
        piece = read_piece(a.input, static_cast<std::int64_t>(n) * a.cols + k);
        norm_piece(a.input, norm, k, piece);
      }
      std::uint32_t words[4];
      for (int i = 0; i < 4; ++i) {
        words[i] = pack<kHalf>(piece.v[2 * i] * norm.up, piece.v[2 * i + 1] * norm.up);
      }
      const int group = k / 32, eighth = k / kPiece % 4;
      std::byte* at = to + (group * a.rows + n) * 64;
      if constexpr (kOrder == Order::eights) {
        *reinterpret_cast<uint4*>(at + eighth * 16) = {words[0], words[1], words[2], words[3]};
      } else {
        at += eighth % 2 * 32 + eighth / 2 * 8;
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
        if (eighth == 0) put_sum(sums, a.rows, n, group, sum);
      }
    }
  }
  __syncthreads();
}

}  // namespace mamba3::cuda::thin
