// The quantized blocks of GGUF, byte for byte as ggml stores them (ggml-common.h). Little-endian, no padding;
// files may place them at any alignment. d, dmin and m are float16 bits.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace mamba3::quant {

/// x[i] = d q[i]; q in [-8, 7], stored as q + 8. Value i < 16 is the low half of byte i, value 16 + i the
/// high.
struct BlockQ4_0 {
  std::uint16_t d;
  std::uint8_t qs[16];
};

/// x[i] = d q[i] + m; q in [0, 15], placed as in Q4_0.
struct BlockQ4_1 {
  std::uint16_t d, m;
  std::uint8_t qs[16];
};

/// x[i] = d q[i]; q in [-16, 15], stored as q + 16: four bits as in Q4_0, the fifth is bit i of the 32 in qh.
struct BlockQ5_0 {
  std::uint16_t d;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};

/// x[i] = d q[i] + m; q in [0, 31], placed as in Q5_0.
struct BlockQ5_1 {
  std::uint16_t d, m;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};

/// x[i] = d q[i].
struct BlockQ8_0 {
  std::uint16_t d;
  std::int8_t qs[32];
};

/// Eight groups g of 32: x = d scale[g] q - dmin min[g]; q in [0, 15], scales and minima in [0, 63].
/// scales: for g < 4 the low six bits of byte g are scale[g], those of byte g + 4 min[g]; for g >= 4 byte g +
/// 4 has the low four bits of scale[g] and, above, of min[g], whose upper two lie above the six bits of bytes
/// g - 4 and g. qs: 32 bytes for two groups, the even one in the low halves.
struct BlockQ4_K {
  std::uint16_t d, dmin;
  std::uint8_t scales[12];
  std::uint8_t qs[128];
};

/// As Q4_K with q in [0, 31]: the fifth bit of group g's value i is bit g of qh[i].
struct BlockQ5_K {
  std::uint16_t d, dmin;
  std::uint8_t scales[12];
  std::uint8_t qh[32];
  std::uint8_t qs[128];
};

/// Sixteen groups g of 16: x = d scales[g] q; q in [-32, 31], stored as q + 32. Each half of 128 values is
/// four quarters k of 32: the low four bits of value i are in ql[32 (k mod 2) + i], in its high half for k >=
/// 2, the upper two are bits 2k and 2k + 1 of qh[i]; the second half's ql begin at 64, its qh at 32.
struct BlockQ6_K {
  std::uint8_t ql[128];
  std::uint8_t qh[64];
  std::int8_t scales[16];
  std::uint16_t d;
};

static_assert(sizeof(BlockQ4_0) == kQ4_0Bytes && sizeof(BlockQ4_1) == kQ4_1Bytes);
static_assert(sizeof(BlockQ5_0) == kQ5_0Bytes && sizeof(BlockQ5_1) == kQ5_1Bytes);
static_assert(sizeof(BlockQ8_0) == kQ8Bytes && sizeof(BlockQ6_K) == kQ6KBytes);
static_assert(sizeof(BlockQ4_K) == kQ4KBytes && sizeof(BlockQ5_K) == kQ5KBytes);

}  // namespace mamba3::quant
