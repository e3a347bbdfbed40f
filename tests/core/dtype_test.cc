#include "core/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/half.h"
#include "mamba3/error.h"

namespace mamba3 {
namespace {

constexpr DType kAll[] = {DType::f64,  DType::f32,  DType::f16,  DType::bf16,    DType::i64,  DType::i32,
                          DType::i16,  DType::i8,   DType::u8,   DType::boolean, DType::q8_0, DType::q4_0,
                          DType::q4_1, DType::q5_0, DType::q5_1, DType::q4_k,    DType::q5_k, DType::q6_k};
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

TEST(DType, NamesAreDistinctAndLeadBack) {
  std::set<std::string_view> names;
  for (const DType type : kAll) {
    EXPECT_TRUE(names.insert(name_of(type)).second) << name_of(type);
    EXPECT_EQ(dtype_named(name_of(type)), type);
  }
  EXPECT_EQ(dtype_named("bf16"), DType::bf16);
  EXPECT_EQ(dtype_named("Q8_0"), DType::q8_0);
  EXPECT_EQ(dtype_named("F33"), std::nullopt);
  EXPECT_EQ(dtype_named("F3"), std::nullopt);
  EXPECT_EQ(dtype_named(""), std::nullopt);
}

TEST(DType, SizesAreThoseOfTheTypes) {
  const std::int64_t bytes[] = {8, 4, 2, 2, 8, 4, 2, 1, 1, 1, 34, 18, 20, 22, 24, 144, 176, 210};
  const std::int64_t elements[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 32, 32, 32, 32, 32, 256, 256, 256};
  for (std::size_t i = 0; i < std::size(kAll); ++i) {
    EXPECT_EQ(block_of(kAll[i]).bytes, bytes[i]) << name_of(kAll[i]);
    EXPECT_EQ(block_of(kAll[i]).elements, elements[i]) << name_of(kAll[i]);
  }
}

TEST(DType, RowsThatBlocksDoNotDivideTakeASubstitute) {
  const auto fits = [](DType type, std::int64_t row, DType expected) {
    EXPECT_EQ(fitting_type(type, row), expected) << name_of(type) << " for rows of " << row;
  };
  for (const DType type : kAll) fits(type, 512, type);
  fits(DType::q4_k, 384, DType::q5_0);
  fits(DType::q5_k, 384, DType::q5_1);
  fits(DType::q6_k, 384, DType::q8_0);
  fits(DType::q8_0, 384, DType::q8_0);
  for (const DType type : {DType::q4_k, DType::q5_k, DType::q6_k, DType::q8_0, DType::q5_0, DType::q4_1}) {
    fits(type, 100, DType::f32);
  }
  fits(DType::bf16, 100, DType::bf16);
}

TEST(DType, BytesOfDoesNotWrap) {
  EXPECT_EQ(bytes_of(DType::f32, 0), 0);
  EXPECT_EQ(bytes_of(DType::f32, 3), 12);
  EXPECT_EQ(bytes_of(DType::q8_0, 64), 68);
  EXPECT_EQ(bytes_of(DType::q8_0, 33), std::nullopt);
  EXPECT_EQ(bytes_of(DType::f32, -1), std::nullopt);
  EXPECT_EQ(bytes_of(DType::u8, kMost), kMost);
  EXPECT_EQ(bytes_of(DType::f16, kMost / 2), kMost - 1);
  EXPECT_EQ(bytes_of(DType::f16, kMost / 2 + 1), std::nullopt);
  EXPECT_EQ(bytes_of(DType::q8_0, kMost - kMost % 32), std::nullopt);
}

TEST(DType, RealTypesComeBackFromAnyAlignment) {
  const std::vector<float> values = {0.0f, -0.0f, 1.0f, -2.5f, 65504.0f, 0x1p-24f, 1024.0f};
  const auto count = static_cast<std::int64_t>(values.size());
  for (const DType type : {DType::f64, DType::f32, DType::f16}) {
    std::vector<std::byte> stored(static_cast<std::size_t>(*bytes_of(type, count)) + 1);
    std::vector<float> floats(values.size(), NAN);
    std::vector<double> doubles(values.size(), NAN);
    from_float(type, values.data(), count, stored.data() + 1);
    to_float(type, stored.data() + 1, count, floats.data());
    to_double(type, stored.data() + 1, count, doubles.data());
    EXPECT_EQ(std::memcmp(floats.data(), values.data(), values.size() * sizeof(float)), 0) << name_of(type);
    for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(doubles[i], values[i]) << name_of(type);
  }
}

TEST(DType, DoublesKeepTheirDigits) {
  const double third = 1.0 / 3.0;
  double found = 0;
  to_double(DType::f64, reinterpret_cast<const std::byte*>(&third), 1, &found);
  EXPECT_EQ(found, third);
}

TEST(DType, Bfloat16IsRoundedToNearest) {
  const std::vector<float> values = {1.0f, 1.00390625f, 1.01171875f, -3.14159274f};
  std::vector<std::byte> stored(values.size() * 2);
  std::vector<float> found(values.size(), NAN);
  from_float(DType::bf16, values.data(), 4, stored.data());
  to_float(DType::bf16, stored.data(), 4, found.data());
  EXPECT_EQ(found, (std::vector<float>{1.0f, 1.0f, 1.015625f, -3.140625f}));
}

TEST(DType, IntegersAreNotRealNumbers) {
  const float value = 1;
  float found = 0;
  std::byte stored[8] = {};
  for (const DType type : {DType::i64, DType::i32, DType::i16, DType::i8, DType::u8, DType::boolean}) {
    EXPECT_FALSE(is_float(type));
    EXPECT_THROW(from_float(type, &value, 1, stored), Error);
    EXPECT_THROW(to_float(type, stored, 1, &found), Error);
  }
  for (const DType type : {DType::f64, DType::f32, DType::f16, DType::bf16, DType::q8_0})
    EXPECT_TRUE(is_float(type));
}

std::vector<float> through_q8_0(const std::vector<float>& values) {
  const auto count = static_cast<std::int64_t>(values.size());
  std::vector<std::byte> stored(static_cast<std::size_t>(*bytes_of(DType::q8_0, count)));
  std::vector<float> found(values.size(), NAN);
  from_float(DType::q8_0, values.data(), count, stored.data());
  to_float(DType::q8_0, stored.data(), count, found.data());
  return found;
}

TEST(Q8, ErrorIsHalfAStepAndTheRoundingOfTheScale) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const float size : {0.01f, 1.0f, 300.0f}) {
    std::vector<float> values(32 * 64);
    for (float& value : values) value = size * normal(random);
    const std::vector<float> found = through_q8_0(values);
    for (std::size_t block = 0; block < values.size(); block += 32) {
      float largest = 0;
      for (std::size_t i = block; i < block + 32; ++i) largest = std::max(largest, std::fabs(values[i]));
      // Half a step, the scale's 11 significant bits, and float32's own rounding.
      const float bound = largest * (0.5f / 127 + 0x1p-11f) * (1 + 1e-5f);
      for (std::size_t i = block; i < block + 32; ++i)
        EXPECT_LE(std::fabs(found[i] - values[i]), bound) << values[i];
    }
  }
}

TEST(Q8, BlocksDoNotTouchEachOther) {
  std::vector<float> values(96, 0.0f);
  for (std::size_t i = 32; i < 64; ++i) values[i] = i % 2 == 0 ? 127.0f : -127.0f;
  EXPECT_EQ(through_q8_0(values), values);
}

TEST(Q8, ZeroStaysZero) {
  const std::vector<float> zeros(32, 0.0f);
  EXPECT_EQ(through_q8_0(zeros), zeros);
}

TEST(Q8, WhatItCannotHoldIsRefused) {
  for (const float value : {NAN, HUGE_VALF, -HUGE_VALF, 1e7f}) {
    std::vector<float> values(32, 1.0f);
    values[17] = value;
    EXPECT_THROW(through_q8_0(values), Error) << value;
  }
}

}  // namespace
}  // namespace mamba3
