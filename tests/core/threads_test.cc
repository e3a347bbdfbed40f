// Shared work: every piece once, whatever happens to the threads.
#include "core/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace mamba3 {
namespace {

class Threads : public testing::Test {
 protected:
  void TearDown() override { set_threads(0); }
};

TEST_F(Threads, EveryPieceRunsOnce) {
  for (const int count : {1, 2, 3, 7}) {
    set_threads(count);
    for (const int pieces : {0, 1, 2, 100, 1000}) {
      std::vector<std::atomic<int>> runs(pieces);
      parallel_each(pieces, [&](std::int64_t i) { ++runs[i]; });
      for (const auto& r : runs) EXPECT_EQ(r, 1);
    }
  }
}

TEST_F(Threads, ManyShortJobsInARow) {
  set_threads(3);
  std::atomic<std::int64_t> sum = 0;
  for (int job = 0; job < 20'000; ++job) parallel_each(5, [&](std::int64_t i) { sum += i; });
  EXPECT_EQ(sum, 20'000 * 10);
}

TEST_F(Threads, RangesCoverEverythingInWholeGrains) {
  set_threads(3);
  for (const std::int64_t count : {0, 1, 15, 16, 17, 191, 1000}) {
    std::vector<std::atomic<int>> seen(count);
    parallel_ranges(
        count,
        [&](std::int64_t first, std::int64_t last) {
          EXPECT_LT(first, last);
          EXPECT_EQ(first % 16, 0);
          EXPECT_TRUE(last % 16 == 0 || last == count);
          for (std::int64_t i = first; i < last; ++i) ++seen[i];
        },
        16);
    for (const auto& s : seen) EXPECT_EQ(s, 1);
  }
}

TEST_F(Threads, IndicesStayBelowTheCount) {
  set_threads(4);
  std::atomic<int> largest = 0;
  parallel_each(500, [&](std::int64_t) {
    int seen = largest;
    while (thread_index() > seen && !largest.compare_exchange_weak(seen, thread_index())) {
    }
  });
  EXPECT_LT(largest, 4);
  EXPECT_EQ(thread_index(), 0);
}

TEST_F(Threads, AnExceptionComesBackAndThePoolGoesOn) {
  set_threads(2);
  for (int round = 0; round < 3; ++round) {
    EXPECT_THROW(parallel_each(50,
                               [](std::int64_t i) {
                                 if (i == 17) throw std::runtime_error("17");
                               }),
                 std::runtime_error);
    std::atomic<int> ran = 0;
    parallel_each(50, [&](std::int64_t) { ++ran; });
    EXPECT_EQ(ran, 50);
  }
}

TEST_F(Threads, SharedWorkInsideSharedWorkRunsOnTheSpot) {
  set_threads(2);
  std::atomic<int> ran = 0;
  parallel_each(10, [&](std::int64_t) { parallel_each(10, [&](std::int64_t) { ++ran; }); });
  EXPECT_EQ(ran, 100);
}

TEST_F(Threads, SeveralCallersAtOnce) {
  set_threads(2);
  std::atomic<std::int64_t> ran = 0;
  std::vector<std::jthread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      for (int job = 0; job < 500; ++job) parallel_each(8, [&](std::int64_t) { ++ran; });
    });
  }
  callers.clear();
  EXPECT_EQ(ran, 4 * 500 * 8);
}

}  // namespace
}  // namespace mamba3
