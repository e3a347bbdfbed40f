// Shared work: every piece once, whatever happens to the threads.
#include "core/threads.h"

#include <gtest/gtest.h>

#include <sched.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/processors.h"

namespace mamba3 {
namespace {

class Threads : public testing::Test {
 protected:
  void TearDown() override { use_threads(0); }
};

TEST_F(Threads, EveryPieceRunsOnce) {
  for (const int count : {1, 2, 3, 7}) {
    use_threads(count);
    for (const int pieces : {0, 1, 2, 100, 1000}) {
      std::vector<std::atomic<int>> runs(pieces);
      parallel_each(pieces, [&](std::int64_t i) { ++runs[i]; });
      for (const auto& r : runs) EXPECT_EQ(r, 1);
    }
  }
}

TEST_F(Threads, MoreThreadsThanRunsLeaveNoPiece) {
  use_threads(Runs::kMostRuns + 3);
  for (const int pieces : {1, Runs::kMostRuns - 1, 1000}) {
    std::vector<std::atomic<int>> runs(pieces);
    parallel_runs(pieces, [&](std::int64_t i) { ++runs[i]; });
    for (const auto& r : runs) EXPECT_EQ(r, 1);
  }
}

TEST_F(Threads, ManyShortJobsInARow) {
  use_threads(3);
  std::atomic<std::int64_t> sum = 0;
  for (int job = 0; job < 20'000; ++job) parallel_each(5, [&](std::int64_t i) { sum += i; });
  EXPECT_EQ(sum, 20'000 * 10);
}

TEST_F(Threads, RangesCoverEverythingInWholeGrains) {
  use_threads(3);
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
  use_threads(4);
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
  use_threads(2);
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
  use_threads(2);
  std::atomic<int> ran = 0;
  parallel_each(10, [&](std::int64_t) { parallel_each(10, [&](std::int64_t) { ++ran; }); });
  EXPECT_EQ(ran, 100);
}

TEST_F(Threads, SeveralCallersAtOnce) {
  use_threads(2);
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

/// The processors that the calling thread may run on.
Core own_mask() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  EXPECT_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
  Core processors;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mask)) processors.push_back(cpu);
  }
  return processors;
}

/// The masks that `count` threads have while they share work, by thread_index().
std::vector<Core> masks_of(int count) {
  use_threads(count);
  std::vector<Core> masks(static_cast<std::size_t>(count));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto missing = [&] { return std::ranges::count(masks, Core()) > 0; };
  while (missing() && std::chrono::steady_clock::now() < deadline) {
    // Long pieces, of which every thread claims one.
    parallel_each(count, [&](std::int64_t) {
      masks[static_cast<std::size_t>(thread_index())] = own_mask();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    });
  }
  EXPECT_FALSE(missing());
  return masks;
}

TEST_F(Threads, HelpersKeepToACoreOfTheirOwnWhenThereAreAsManyAsThreads) {
  const std::vector<Core> cores = allowed_cores();
  const Core all = own_mask();
  const int count = static_cast<int>(cores.size());
  if (count < 2) GTEST_SKIP() << "one core: no helper";
  std::vector<Core> masks = masks_of(count);
  EXPECT_EQ(masks.front(), all) << "the caller is left alone";
  masks.erase(masks.begin());
  for (const Core& mask : masks) EXPECT_EQ(std::ranges::count(cores, mask), 1) << "a whole core";
  EXPECT_EQ(std::set<Core>(masks.begin(), masks.end()).size(), masks.size()) << "one helper a core";

  EXPECT_EQ(masks_of(count + 1), std::vector<Core>(static_cast<std::size_t>(count) + 1, all))
      << "too few cores";
  setenv("MAMBA3_PIN", "0", 1);
  EXPECT_EQ(masks_of(count), std::vector<Core>(static_cast<std::size_t>(count), all)) << "switched off";
  unsetenv("MAMBA3_PIN");
}

// Looking for work takes a helper some tens of microseconds after the last piece; then it sleeps.
TEST_F(Threads, AnIdlePoolTakesNoTime) {
  use_threads(4);
  parallel_each(100, [](std::int64_t) {});
  const auto cpu_seconds = [] {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  EXPECT_LT(cpu_seconds() - before, 0.005);
}

TEST_F(Threads, MoreThanTheProcessorsAreRefused) {
  const int most = logical_processors();
  set_threads(most);
  EXPECT_EQ(threads(), most);
  for (const int wrong : {most + 1, -1}) {
    try {
      set_threads(wrong);
      ADD_FAILURE() << wrong << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      EXPECT_EQ(std::string(error.what()),
                fmt::format("threads is {}, expected 0 to {}, the processors that this process may use",
                            wrong, most));
    }
    EXPECT_EQ(threads(), most) << "as it was";
  }
}

}  // namespace
}  // namespace mamba3
