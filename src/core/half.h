// float16 and bfloat16 bits to and from float32, round to nearest even, NaN kept.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace mamba3 {

inline float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

inline std::uint16_t float_to_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>((bits >> 16) | 0x40);  // a quiet NaN
  return static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float f16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = std::uint32_t{bits & 0x8000u} << 16;
  const std::uint32_t rest = bits & 0x7fffu;
  if (rest >= 0x7c00) return std::bit_cast<float>(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  // Shifted into float32's fields the exponent is too small by 112; a product by 2^112 mends that exactly,
  // subnormals included.
  const float magnitude = std::bit_cast<float>(rest << 13) * 0x1p112f;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
}

inline std::uint16_t float_to_f16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
  const std::uint32_t rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return sign | 0x7e00u;
  if (rest >= 0x477ff000u) return sign | 0x7c00u;               // 65520 and above round to infinity
  if (rest < 0x38800000u) {                                     // below 2^-14: subnormal, units of 2^-24
    const float magnitude = std::bit_cast<float>(rest) + 0.5f;  // float32 rounds at 2^-24 between 0.5 and 1
    return sign | static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(magnitude) - 0x3f000000u);
  }
  const std::uint32_t rounded = rest + 0xfffu + ((rest >> 13) & 1u);
  return sign | static_cast<std::uint16_t>((rounded - (112u << 23)) >> 13);
}

}  // namespace mamba3
