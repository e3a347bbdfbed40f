// Q4_K, Q5_K and Q6_K: 256 values in groups, whose scales are small integers times one float16.
#include <algorithm>

#include "core/half.h"
#include "core/quant/blocks.h"
#include "core/quant/codec.h"
#include "core/quant/super_block.h"

namespace mamba3::quant {
namespace {

template <typename Block>
constexpr bool kFiveBits = requires(Block b) {
  b.dmin;
  b.qh;
};

template <typename Block>
constexpr SuperShape kShape = {8, {0, kFiveBits<Block> ? 31 : 15}, {0, 63}, {0, 63}};
template <>
constexpr SuperShape kShape<BlockQ6_K> = {16, {-32, 31}, {-128, 127}, {0, 0}};

struct ScaleAndMin {
  int scale, min;
};

ScaleAndMin scale_of(const std::uint8_t* scales, int g) {
  if (g < 4) return {scales[g] & 63, scales[g + 4] & 63};
  return {(scales[g + 4] & 15) | (scales[g - 4] >> 6) << 4, scales[g + 4] >> 4 | (scales[g] >> 6) << 4};
}

void put_scale(std::uint8_t* scales, int g, ScaleAndMin value) {
  const auto add = [&](int byte, int bits) { scales[byte] |= static_cast<std::uint8_t>(bits); };
  if (g < 4) {
    add(g, value.scale);
    add(g + 4, value.min);
  } else {
    add(g + 4, (value.scale & 15) | (value.min & 15) << 4);
    add(g - 4, value.scale >> 4 << 6);
    add(g, value.min >> 4 << 6);
  }
}

template <typename Block, typename Real>
void decode_block(const Block& block, Real* to) {
  const Real d = f16_to_float(block.d), dmin = f16_to_float(block.dmin);
  for (int g = 0; g < 8; ++g) {
    const auto [scale, min] = scale_of(block.scales, g);
    const Real step = d * static_cast<Real>(scale), minus = dmin * static_cast<Real>(min);
    const std::uint8_t* qs = block.qs + g / 2 * 32;
    for (int i = 0; i < 32; ++i) {
      int q = qs[i] >> 4 * (g % 2) & 15;
      if constexpr (kFiveBits<Block>) q |= (block.qh[i] >> g & 1) << 4;
      to[g * 32 + i] = step * static_cast<Real>(q) - minus;
    }
  }
}

template <typename Real>
void decode_block(const BlockQ6_K& block, Real* to) {
  const Real d = f16_to_float(block.d);
  for (int i = 0; i < kSuperValues; ++i) {
    const int half = i / 128, quarter = i / 32 % 4, at = i % 32;
    const int low = block.ql[64 * half + 32 * (quarter % 2) + at] >> 4 * (quarter / 2) & 15;
    const int high = block.qh[32 * half + at] >> 2 * quarter & 3;
    const int group = i / 16, code = (low | high << 4) - 32;
    to[i] = d * static_cast<Real>(block.scales[group]) * static_cast<Real>(code);
  }
}

template <typename Block>
Block pack(const SuperBlock& found) {
  Block block{};
  block.d = found.d;
  block.dmin = found.dmin;
  for (int g = 0; g < 8; ++g) {
    put_scale(block.scales, g, {found.scale[g], found.min[g]});
    for (int i = 0; i < 32; ++i) {
      const int q = static_cast<int>(found.q[g * 32 + i]);
      block.qs[g / 2 * 32 + i] |= static_cast<std::uint8_t>((q & 15) << 4 * (g % 2));
      if constexpr (kFiveBits<Block>) block.qh[i] |= static_cast<std::uint8_t>((q >> 4) << g);
    }
  }
  return block;
}

template <>
BlockQ6_K pack(const SuperBlock& found) {
  BlockQ6_K block{};
  block.d = found.d;
  for (int g = 0; g < 16; ++g) block.scales[g] = static_cast<std::int8_t>(found.scale[g]);
  for (int i = 0; i < kSuperValues; ++i) {
    const int half = i / 128, quarter = i / 32 % 4, at = i % 32, q = static_cast<int>(found.q[i]) + 32;
    block.ql[64 * half + 32 * (quarter % 2) + at] |= static_cast<std::uint8_t>((q & 15) << 4 * (quarter / 2));
    block.qh[32 * half + at] |= static_cast<std::uint8_t>((q >> 4) << 2 * quarter);
  }
  return block;
}

template <typename Block>
Block encode_block(const float* x, const float* importance) {
  float w[kSuperValues];
  error_weights(x, importance, kSuperValues, w);
  return pack<Block>(fit_super_block(kShape<Block>, x, w));
}

/// Calls with(Block()) for the type's block.
template <typename With>
void with_block(DType type, With with) {
  switch (type) {
    case DType::q4_k:
      return with(BlockQ4_K());
    case DType::q5_k:
      return with(BlockQ5_K());
    default:
      return with(BlockQ6_K());
  }
}

}  // namespace

template <typename Real>
void decode_k(DType type, const std::byte* from, std::int64_t elements, Real* to) {
  with_block(type, [&]<typename Block>(Block) {
    for_blocks<Block>(from, elements, kKElements, to,
                      [](const Block& block, Real* values) { decode_block(block, values); });
  });
}

void encode_k(DType type, const float* from, std::int64_t elements, std::byte* to, const float* importance) {
  with_block(type, [&]<typename Block>(Block) {
    make_blocks(from, elements, kKElements, to, importance, encode_block<Block>);
  });
}

template void decode_k(DType, const std::byte*, std::int64_t, float*);
template void decode_k(DType, const std::byte*, std::int64_t, double*);

}  // namespace mamba3::quant
