#include "core/checked.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace mamba3 {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::uint64_t kMostUnsigned = std::numeric_limits<std::uint64_t>::max();

std::optional<std::int64_t> elements(std::vector<std::int64_t> shape) {
  return checked_elements(shape);
}

TEST(Checked, SumsThatFit) {
  EXPECT_EQ(checked_add<std::int64_t>(kMost - 1, 1), kMost);
  EXPECT_EQ(checked_add<std::int64_t>(kMost, 1), std::nullopt);
  EXPECT_EQ(checked_add<std::uint64_t>(kMostUnsigned, 0), kMostUnsigned);
  EXPECT_EQ(checked_add<std::uint64_t>(kMostUnsigned, 8), std::nullopt);
}

TEST(Checked, ProductsThatFit) {
  EXPECT_EQ(checked_mul<std::int64_t>(std::int64_t{1} << 31, std::int64_t{1} << 31), std::int64_t{1} << 62);
  EXPECT_EQ(checked_mul<std::int64_t>(std::int64_t{1} << 32, std::int64_t{1} << 31), std::nullopt);
  EXPECT_EQ(checked_mul<std::int64_t>(kMost, 0), 0);
}

TEST(Checked, ElementsOfAShape) {
  EXPECT_EQ(elements({}), 1);
  EXPECT_EQ(elements({3, 5}), 15);
  EXPECT_EQ(elements({3, 0, 5}), 0);
  EXPECT_EQ(elements({-2, 2}), std::nullopt);
  EXPECT_EQ(elements({0, -1}), std::nullopt);
  EXPECT_EQ(elements({std::int64_t{1} << 32, std::int64_t{1} << 32, 4}), std::nullopt);
  EXPECT_EQ(elements({std::int64_t{1} << 32, 0, std::int64_t{1} << 32}), std::nullopt)
      << "a product that wraps";
}

}  // namespace
}  // namespace mamba3
