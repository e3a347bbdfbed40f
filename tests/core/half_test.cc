// The conversions of core/half.h against an oracle that only knows the definition of the two formats.
#include "core/half.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace mamba3 {
namespace {

/// A binary format of 16 bits: `fraction` bits, exponents from `least` to `most`.
struct Format {
  int fraction;
  int least;
  int most;
};
constexpr Format kF16{10, -14, 15};
constexpr Format kBf16{7, -126, 127};

double decoded(const Format& format, std::uint16_t bits) {
  const int field = (bits & 0x7fff) >> format.fraction;
  const int fraction = bits & ((1 << format.fraction) - 1);
  const int leading = field == 0 ? 0 : 1 << format.fraction;
  const int exponent = field == 0 ? format.least : field - 1 + format.least;
  const double magnitude = std::ldexp(leading + fraction, exponent - format.fraction);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

/// The nearest value of the format, ties to the even one; exact, since double holds every step.
std::uint16_t encoded(const Format& format, double value) {
  const std::uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const auto infinity = static_cast<std::uint16_t>((format.most - format.least + 2) << format.fraction);
  const double magnitude = std::fabs(value);
  if (std::isinf(magnitude)) return sign | infinity;
  if (magnitude == 0) return sign;
  const int exponent = std::max(std::ilogb(magnitude), format.least);
  // In units of the last place; counting on from the exponent's first code carries into the next exponent.
  const double units = std::nearbyint(std::ldexp(magnitude, format.fraction - exponent));
  const double code = std::ldexp(exponent - format.least, format.fraction) + units;
  return sign | static_cast<std::uint16_t>(std::min<double>(code, infinity));
}

bool is_nan(const Format& format, std::uint16_t bits) {
  return (bits & 0x7fff) > (format.most - format.least + 2) << format.fraction;
}

bool is_finite(const Format& format, std::uint16_t bits) {
  return (bits & 0x7fff) < (format.most - format.least + 2) << format.fraction;
}

struct Conversion {
  Format format;
  float (*to_float)(std::uint16_t);
  std::uint16_t (*from_float)(float);
};

class Half : public testing::TestWithParam<Conversion> {};

TEST_P(Half, EveryValueDecodesAsDefined) {
  const auto [format, to_float, from_float] = GetParam();
  for (int bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = to_float(half);
    if (is_nan(format, half)) {
      ASSERT_TRUE(std::isnan(value)) << std::hex << bits;
    } else if (is_finite(format, half)) {
      ASSERT_EQ(value, decoded(format, half)) << std::hex << bits;
      ASSERT_EQ(std::signbit(value), bits >= 0x8000) << std::hex << bits;
    } else {
      ASSERT_TRUE(std::isinf(value)) << std::hex << bits;
    }
  }
}

TEST_P(Half, EveryValueComesBack) {
  const auto [format, to_float, from_float] = GetParam();
  for (int bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const std::uint16_t back = from_float(to_float(half));
    if (is_nan(format, half)) {
      ASSERT_TRUE(is_nan(format, back)) << std::hex << bits;
      ASSERT_EQ(back & 0x8000, bits & 0x8000) << std::hex << bits;
    } else {
      ASSERT_EQ(back, half) << std::hex << bits;
    }
  }
}

TEST_P(Half, BetweenNeighboursTheNearestIsTakenAndTheEvenOneInTheMiddle) {
  const auto [format, to_float, from_float] = GetParam();
  for (int bits = 0; is_finite(format, static_cast<std::uint16_t>(bits + 1)); ++bits) {
    const auto below = static_cast<std::uint16_t>(bits);
    const auto above = static_cast<std::uint16_t>(bits + 1);
    const auto middle = static_cast<float>((decoded(format, below) + decoded(format, above)) / 2);
    const std::uint16_t even = (bits & 1) == 0 ? below : above;
    ASSERT_EQ(from_float(middle), even) << std::hex << bits;
    ASSERT_EQ(from_float(std::nextafter(middle, 0.0f)), below) << std::hex << bits;
    ASSERT_EQ(from_float(std::nextafter(middle, HUGE_VALF)), above) << std::hex << bits;
    ASSERT_EQ(from_float(-middle), even | 0x8000) << std::hex << bits;
  }
}

TEST_P(Half, RandomFloatsRoundAsTheOracleSays) {
  const auto [format, to_float, from_float] = GetParam();
  std::mt19937 random(11);
  for (int i = 0; i < 2'000'000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (std::isnan(value)) {
      ASSERT_TRUE(is_nan(format, from_float(value)));
    } else {
      ASSERT_EQ(from_float(value), encoded(format, value)) << value;
    }
  }
}

TEST_P(Half, EndsOfTheRange) {
  const auto [format, to_float, from_float] = GetParam();
  const float largest = std::numeric_limits<float>::max();
  const float tiny = std::numeric_limits<float>::denorm_min();
  for (const float value : {largest, tiny, HUGE_VALF, 0.0f, 65504.0f, 65519.996f, 65520.0f, 0x1p-14f,
                            0x1p-24f, 0x1p-25f, 0x1.8p-25f, 0x1p-126f, 0x1p-133f, 0x1p-134f}) {
    EXPECT_EQ(from_float(value), encoded(format, value)) << value;
    EXPECT_EQ(from_float(-value), encoded(format, -value)) << -value;
  }
}

TEST_P(Half, NanWithItsPayloadInTheLowBitsStaysNan) {
  const auto [format, to_float, from_float] = GetParam();
  EXPECT_TRUE(is_nan(format, from_float(std::bit_cast<float>(0x7f800001u))));
  EXPECT_TRUE(is_nan(format, from_float(std::bit_cast<float>(0xffffffffu))));
}

INSTANTIATE_TEST_SUITE_P(F16, Half, testing::Values(Conversion{kF16, f16_to_float, float_to_f16}));
INSTANTIATE_TEST_SUITE_P(Bf16, Half, testing::Values(Conversion{kBf16, bf16_to_float, float_to_bf16}));

}  // namespace
}  // namespace mamba3
