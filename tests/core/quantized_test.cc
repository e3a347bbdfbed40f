// What the quantizers keep of values, whatever the values are. (tests/formats/quantized_test.cc compares with
// ggml.)
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"
#include "core/splitmix.h"

namespace mamba3 {
namespace {

constexpr DType kTypes[] = {DType::q8_0, DType::q6_k, DType::q5_k, DType::q4_k,
                            DType::q5_1, DType::q5_0, DType::q4_1, DType::q4_0};

/// A normal variable, by Box and Muller.
float bell(std::uint64_t i) {
  constexpr double kTurn = 6.283185307179586;
  return static_cast<float>(std::sqrt(-2 * std::log(1 - random_uniform(1, 2 * i))) *
                            std::cos(kTurn * random_uniform(1, 2 * i + 1)));
}

std::vector<float> bells(std::size_t count) {
  std::vector<float> values;
  for (std::size_t i = 0; i < count; ++i) values.push_back(bell(i));
  return values;
}

std::vector<std::byte> encoded(DType type, const std::vector<float>& values,
                               const float* importance = nullptr) {
  std::vector<std::byte> stored(static_cast<std::size_t>(*bytes_of(type, std::ssize(values))));
  from_float(type, values.data(), std::ssize(values), stored.data(), importance);
  return stored;
}

std::vector<float> through(DType type, const std::vector<float>& values, const float* importance = nullptr) {
  std::vector<float> found(values.size(), NAN);
  to_float(type, encoded(type, values, importance).data(), std::ssize(values), found.data());
  return found;
}

double rms(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

/// Codes between the ends of the range: the steps that a block's values share.
double steps(DType type) {
  switch (type) {
    case DType::q8_0:
      return 127;
    case DType::q6_k:
      return 32;
    case DType::q5_k:
    case DType::q5_1:
      return 31;
    case DType::q5_0:
      return 16;
    case DType::q4_0:
      return 8;
    default:
      return 15;
  }
}

/// What a group of normal values spans on average: the largest magnitude of 16 (2.08) or 32 (2.34) values for
/// the types with a scale alone, the distance from the least to the largest of 32 (4.14) for those with a
/// minimum.
double span(DType type) {
  if (type == DType::q6_k) return 2.08;
  return type == DType::q8_0 || type == DType::q5_0 || type == DType::q4_0 ? 2.34 : 4.14;
}

class Quantizer : public testing::TestWithParam<DType> {
 protected:
  const DType type = GetParam();
};

TEST_P(Quantizer, NormalValuesKeepTheErrorOfTheirStep) {
  const auto values = bells(std::size_t{1} << 16);
  // Rounding to steps of span / steps leaves step / sqrt(12); the search makes that less, not by a fifth.
  const double expected = span(type) / steps(type) / std::sqrt(12.0),
               found = rms(values, through(type, values));
  EXPECT_LT(found, expected * 1.01);
  EXPECT_GT(found, expected * 0.8);
}

TEST_P(Quantizer, WhatIsQuantizedStaysAsItIs) {
  const auto values = bells(4096), once = through(type, values), twice = through(type, once);
  // Two levels of scales are found again but for a few; one level is always.
  const double allowed = block_of(type).elements == kKElements ? 0.2 * rms(values, once) : 0;
  EXPECT_LE(rms(once, twice), allowed);
}

TEST_P(Quantizer, BlocksDoNotTouchEachOther) {
  const auto values = bells(1024), importance = bells(1024);
  std::vector<float> weights;
  for (const float w : importance) weights.push_back(w * w);
  const auto whole = encoded(type, values, weights.data());
  const auto of_block = static_cast<std::size_t>(block_of(type).elements);
  std::vector<std::byte> pieces;
  for (std::size_t i = 0; i < values.size(); i += of_block) {
    const std::vector<float> part(values.begin() + static_cast<std::ptrdiff_t>(i),
                                  values.begin() + static_cast<std::ptrdiff_t>(i + of_block));
    const auto stored = encoded(type, part, weights.data() + i);
    pieces.insert(pieces.end(), stored.begin(), stored.end());
  }
  EXPECT_EQ(whole, pieces);
}

TEST_P(Quantizer, ZeroStaysZero) {
  const std::vector<float> zeros(512, 0.0f);
  EXPECT_EQ(through(type, zeros), zeros);
}

TEST_P(Quantizer, OneValueEverywhereIsKept) {
  for (const float value : {1.0f, -1.0f, 0.02f, -300.0f}) {
    const std::vector<float> values(256, value);
    // A scale's 11 bits, twice where there are two levels or a minimum; float16 ends in steps of 2^-24, half
    // of which two levels multiply by 64 and 32 (Q5_K), 128 and 32 (Q6_K).
    const double allowed = std::fabs(value) * 0x1p-9 + 0x1p-25 * 128 * 32;
    const auto found = through(type, values);
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(found[i], value, allowed) << i;
  }
}

TEST_P(Quantizer, AnOutlierIsKeptAndTheRestIsNotLost) {
  for (const float outlier : {50.0f, -50.0f}) {
    std::vector<float> values = bells(256);
    values[77] = outlier;
    const auto found = through(type, values);
    // All of a group share the outlier's step: half of it, or a whole one where the range ends a code
    // earlier.
    const double step = (std::fabs(outlier) + 4) / steps(type);
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(found[i], values[i], 1.1 * step) << i;
  }
}

TEST_P(Quantizer, TinyValuesBecomeSmallOrZeroButNumbers) {
  for (const float size : {1e-45f, 1e-38f, 1e-30f, 0x1p-26f, 0x1p-24f, 1e-6f}) {
    std::vector<float> values = bells(256);
    for (float& value : values) value *= size;
    const auto found = through(type, values);
    // The scales' least step is 2^-24; a code's worth of it is what may be lost, on top of the usual.
    const double allowed = 5 * static_cast<double>(size) + 0x1p-24 * steps(type);
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_NEAR(found[i], values[i], allowed) << size;
  }
}

TEST_P(Quantizer, WhatItCannotHoldIsRefused) {
  for (const float value : {NAN, HUGE_VALF, -HUGE_VALF, 3e8f, -3e8f}) {
    std::vector<float> values(256, 1.0f);
    values[177] = value;
    try {
      through(type, values);
      ADD_FAILURE() << value;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::numeric);
      EXPECT_NE(std::string(error.what()).find(name_of(type)), std::string::npos) << error.what();
    }
  }
}

TEST_P(Quantizer, TheLargestThatItTakesComeBackFinite) {
  constexpr float kTaken[] = {8.3e6f, 2.5e8f, 4e6f, 4e6f, 6.5e4f, 9.8e5f, 6.5e4f, 4.5e5f};
  const auto at = static_cast<std::size_t>(std::ranges::find(kTypes, type) - std::begin(kTypes));
  for (const float sign : {1.0f, -1.0f}) {
    std::vector<float> values(256, 0.0f);
    for (std::size_t i = 0; i < values.size(); i += 3) values[i] = (i % 2 == 0 ? sign : -sign) * kTaken[at];
    const auto found = through(type, values);
    for (std::size_t i = 0; i < values.size(); ++i)
      ASSERT_NEAR(found[i], values[i], 1.1 * kTaken[at] / steps(type) * 2) << i;
  }
}

/// What least squares take off the error of a group with these weights, once its codes are chosen: the
/// parameters (a scale, or a scale and a minimum) over the values that count, (sum w)^2 / sum w^2. The choice
/// of the codes takes off more.
double fitted_share(DType type) {
  const bool has_minimum =
      type == DType::q5_k || type == DType::q4_k || type == DType::q5_1 || type == DType::q4_1;
  const double group = type == DType::q6_k ? 16 : 32;
  const double sum = group / 4 * (100.0 + 3), squares = group / 4 * (100.0 * 100 + 3);
  return (has_minimum ? 2 : 1) * squares / (sum * sum);
}

TEST_P(Quantizer, ImportanceMovesTheErrorToWhereItMattersLess) {
  const auto values = bells(4096);
  std::vector<float> importance, alike(values.size(), 3.0f), none(values.size(), 0.0f);
  for (std::size_t i = 0; i < values.size(); ++i) importance.push_back(i % 4 == 0 ? 100.0f : 1.0f);
  const auto with = through(type, values, importance.data()), without = through(type, values);
  double error_with = 0, error_without = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    error_with += importance[i] * (with[i] - values[i]) * (with[i] - values[i]);
    error_without += importance[i] * (without[i] - values[i]) * (without[i] - values[i]);
  }
  if (type == DType::q8_0) {
    EXPECT_EQ(with, without) << "Q8_0 takes none";
  } else {
    EXPECT_LT(error_with, (1 - fitted_share(type)) * error_without);
  }
  EXPECT_EQ(through(type, values, alike.data()), without) << "only its proportions count";
  EXPECT_EQ(through(type, values, none.data()), without) << "columns never seen are all alike";
}

INSTANTIATE_TEST_SUITE_P(Types, Quantizer, testing::ValuesIn(kTypes),
                         [](const auto& type) { return std::string(name_of(type.param)); });

}  // namespace
}  // namespace mamba3
