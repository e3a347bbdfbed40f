#include "core/statistics.h"

#include <gtest/gtest.h>

namespace mamba3 {
namespace {

TEST(Statistics, SpreadIsLeastMedianMost) {
  const Spread odd = spread_of({3, 1, 2}), even = spread_of({4, 1, 2, 3});
  EXPECT_EQ(odd.least, 1);
  EXPECT_EQ(odd.median, 2);
  EXPECT_EQ(odd.most, 3);
  EXPECT_EQ(even.median, 2.5);
}

TEST(Statistics, QuantilesLieBetweenNeighbours) {
  EXPECT_EQ(quantile_of({7}, 0.99), 7);
  EXPECT_EQ(quantile_of({30, 10, 20}, 0.25), 15);
  EXPECT_DOUBLE_EQ(quantile_of({0, 100}, 0.99), 99);
}

TEST(Statistics, MeansKnowTheirError) {
  Mean mean;
  EXPECT_TRUE(std::isnan(mean.value()));
  for (const double v : {1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16}) {
    mean.add(v);
    if (mean.count() == 1) {
      EXPECT_TRUE(std::isnan(mean.standard_error()));
    }
  }
  EXPECT_EQ(mean.value(), 1e9 + 10);
  EXPECT_NEAR(mean.standard_error(), std::sqrt(30.0 / 4), 1e-6);  // sample variance 30
}

}  // namespace
}  // namespace mamba3
