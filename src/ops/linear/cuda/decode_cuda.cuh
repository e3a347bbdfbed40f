// Stored weights to float32 on the device: the arithmetic of core/quant, eight neighbouring values at a time.
//
// Code, scale and (but for a minimum) their product fit into float32's 24 bits: 11 of a float16, 8 of a Q6_K
// scale, 5 of its code. So a product is exact, a fused multiply-add rounds once, and the values are those of
// to_float to the bit.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "core/cuda/values_cuda.cuh"
#include "ops/linear/cuda/matrix_cuda.h"

namespace mamba3::cuda {

inline constexpr int kEight = 8;

/// A piece of a plane, aligned to its size.
template <typename Piece>
__device__ inline Piece piece_at(const std::byte* plane, std::int64_t byte) {
  return __ldg(reinterpret_cast<const Piece*>(plane + byte));
}

/// The block that holds a value, counted from the matrix's first; blocks of kElements values.
template <unsigned kElements>
__device__ inline std::int64_t block_at(const DeviceMatrix& W, std::int64_t row, std::int64_t col) {
  return row * static_cast<std::int64_t>(static_cast<std::uint64_t>(W.cols) / kElements) +
         static_cast<std::int64_t>(static_cast<std::uint64_t>(col) / kElements);
}

/// Byte i of eight.
__device__ inline int byte_of(uint2 bytes, int i) {
  return (i < 4 ? bytes.x >> 8 * i : bytes.y >> 8 * (i - 4)) & 0xff;
}

__device__ inline float half_of(unsigned bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}

/// Eight values as they are stored: load() fetches the values [col, col + 8) of a row, col a multiple of 8
/// and below W.cols; decode() makes floats of them, zeros for what lies behind the row. Loading and decoding
/// are apart so that a kernel may compute in between.
template <DType kType>
struct Eight;

template <typename Value>
struct EightPlain {
  static constexpr int kPieces = kEight * sizeof(Value) / 16;
  uint4 bits[kPieces];

  __device__ void load(const DeviceMatrix& W, std::int64_t row, std::int64_t col) {
    const std::int64_t at = row * W.cols + col;
    if (W.cols % kEight == 0) {  // every row begins at 16 bytes
#pragma unroll
      for (int i = 0; i < kPieces; ++i) {
        bits[i] = piece_at<uint4>(W.planes[0], at * static_cast<int>(sizeof(Value)) + 16 * i);
      }
      return;
    }
    const auto* from = reinterpret_cast<const Value*>(W.planes[0]) + at;
    Value values[kEight];
#pragma unroll
    for (int i = 0; i < kEight; ++i) values[i] = col + i < W.cols ? from[i] : Value(0.0f);
    memcpy(bits, values, sizeof bits);
  }
  __device__ void decode(float (&to)[kEight]) const {
    Value values[kEight];
    memcpy(values, bits, sizeof bits);
#pragma unroll
    for (int i = 0; i < kEight; ++i) to[i] = as_float(values[i]);
  }
};
template <>
struct Eight<DType::f32> : EightPlain<float> {};
template <>
struct Eight<DType::f16> : EightPlain<__half> {};
template <>
struct Eight<DType::bf16> : EightPlain<__nv_bfloat16> {};

template <>
struct Eight<DType::q8_0> {
  uint2 codes;
  unsigned short d;

  __device__ void load(const DeviceMatrix& W, std::int64_t row, std::int64_t col) {
    const std::int64_t block = block_at<32>(W, row, col);
    codes = piece_at<uint2>(W.planes[1], block * 32 + (static_cast<int>(col) & 31));
    d = piece_at<unsigned short>(W.planes[0], block * 2);
  }
  __device__ void decode(float (&to)[kEight]) const {
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      to[i] = half_of(d) * static_cast<float>(static_cast<signed char>(byte_of(codes, i)));
    }
  }
};

/// Q4_0, Q4_1, Q5_0, Q5_1: value i of a block of 32 is a half of byte i % 16.
template <bool kMin, bool kFiveBits>
struct EightSimple {
  static constexpr int kBias = kMin ? 0 : kFiveBits ? 16 : 8;
  uint2 codes;
  unsigned scale;  // d, and m above it
  unsigned fifth;  // from bit 0
  int shift;

  __device__ void load(const DeviceMatrix& W, std::int64_t row, std::int64_t col) {
    const std::int64_t block = block_at<32>(W, row, col);
    const int at = static_cast<int>(col) & 31;
    shift = at / 16 * 4;
    codes = piece_at<uint2>(W.planes[kFiveBits ? 2 : 1], block * 16 + at % 16);
    scale =
        kMin ? piece_at<unsigned>(W.planes[0], block * 4) : piece_at<unsigned short>(W.planes[0], block * 2);
    if (kFiveBits) fifth = piece_at<unsigned>(W.planes[1], block * 4) >> at;
  }
  __device__ void decode(float (&to)[kEight]) const {
    const float d = half_of(scale), m = kMin ? half_of(scale >> 16) : 0;
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      int code = byte_of(codes, i) >> shift & 15;
      if (kFiveBits) code |= (fifth >> i & 1) << 4;
      to[i] = kMin ? fmaf(d, code, m) : d * (code - kBias);
    }
  }
};
template <>
struct Eight<DType::q4_0> : EightSimple<false, false> {};
template <>
struct Eight<DType::q4_1> : EightSimple<true, false> {};
template <>
struct Eight<DType::q5_0> : EightSimple<false, true> {};
template <>
struct Eight<DType::q5_1> : EightSimple<true, true> {};

/// Q4_K and Q5_K: eight groups of 32; groups 2i and 2i + 1 are the halves of 32 bytes.
template <bool kFiveBits>
struct EightK {
  uint2 codes, fifth;
  uint4 head;  // d and dmin, 12 bytes of scales
  int group;

  __device__ void load(const DeviceMatrix& W, std::int64_t row, std::int64_t col) {
    const std::int64_t block = block_at<256>(W, row, col);
    const int at = static_cast<int>(col) & 31;
    group = static_cast<int>(col) >> 5 & 7;
    codes = piece_at<uint2>(W.planes[kFiveBits ? 2 : 1], block * 128 + group / 2 * 32 + at);
    if (kFiveBits) fifth = piece_at<uint2>(W.planes[1], block * 32 + at);
    head = piece_at<uint4>(W.planes[0], block * 16);
  }
  __device__ void decode(float (&to)[kEight]) const {
    const int bit = group % 4 * 8;  // of bytes g, 4 + g and 8 + g of the scales, g = group % 4
    const int a = head.y >> bit & 0xff, b = head.z >> bit & 0xff, c = head.w >> bit & 0xff;
    const int factor = group < 4 ? a & 63 : (c & 15) | a >> 6 << 4;
    const int minimum = group < 4 ? b & 63 : c >> 4 | b >> 6 << 4;
    const float step = half_of(head.x) * factor, minus = half_of(head.x >> 16) * minimum;
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      int code = byte_of(codes, i) >> group % 2 * 4 & 15;
      if (kFiveBits) code |= (byte_of(fifth, i) >> group & 1) << 4;
      to[i] = fmaf(step, code, -minus);
    }
  }
};
template <>
struct Eight<DType::q4_k> : EightK<false> {};
template <>
struct Eight<DType::q5_k> : EightK<true> {};

/// Two halves of four quarters of 32; sixteen scales.
template <>
struct Eight<DType::q6_k> {
  uint2 low, high;
  unsigned short d;
  signed char scale;
  int quarter;

  __device__ void load(const DeviceMatrix& W, std::int64_t row, std::int64_t col) {
    const std::int64_t block = block_at<256>(W, row, col);
    const int half = static_cast<int>(col) >> 7 & 1, at = static_cast<int>(col) & 31;
    quarter = static_cast<int>(col) >> 5 & 3;
    low = piece_at<uint2>(W.planes[0], block * 128 + 64 * half + 32 * (quarter % 2) + at);
    high = piece_at<uint2>(W.planes[1], block * 64 + 32 * half + at);
    scale = piece_at<signed char>(W.planes[2], block * 16 + (static_cast<int>(col) >> 4 & 15));
    d = piece_at<unsigned short>(W.planes[3], block * 2);
  }
  __device__ void decode(float (&to)[kEight]) const {
    const float step = half_of(d) * scale;
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      const int bits = byte_of(low, i) >> quarter / 2 * 4 & 15;
      to[i] = step * ((bits | (byte_of(high, i) >> 2 * quarter & 3) << 4) - 32);
    }
  }
};

/// Calls with(std::integral_constant<DType, type>) for a type that weights may have.
template <typename With>
void with_weight_type(DType type, const With& with) {
  const auto call = [&]<DType... kTypes>(std::integer_sequence<DType, kTypes...>) {
    (void)((type == kTypes ? (with(std::integral_constant<DType, kTypes>()), true) : false) || ...);
  };
  using enum DType;
  call(std::integer_sequence<DType, f32, f16, bf16, q8_0, q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k>());
}

}  // namespace mamba3::cuda
