// Signals that end a process take its unfinished files along.
#include "core/temporaries.h"

#include <csignal>
#include <deque>

#include "core/atomic_file.h"
#include "support.h"

namespace mamba3 {
namespace {

bool is_empty(const test::TemporaryFolder& folder) {
  return std::filesystem::is_empty(folder.path());
}

// Each death happens in a process of its own, whose signals are not those of the tests.
using TemporariesDeathTest = testing::TestWithParam<int>;

TEST_P(TemporariesDeathTest, ASignalRemovesUnfinishedFiles) {
  const test::TemporaryFolder folder;
  const auto interrupted = [&] {
    remove_temporaries_on_signals();
    AtomicFile first(folder / "first"), second(folder / "second");
    first.write("half");
    raise(GetParam());
  };
  EXPECT_EXIT(interrupted(), testing::KilledBySignal(GetParam()), "");
  EXPECT_TRUE(is_empty(folder));
}

TEST_P(TemporariesDeathTest, ASignalLeavesFinishedFiles) {
  const test::TemporaryFolder folder;
  const auto interrupted = [&] {
    remove_temporaries_on_signals();
    AtomicFile file(folder / "out");
    file.write("whole");
    file.commit();
    raise(GetParam());
  };
  EXPECT_EXIT(interrupted(), testing::KilledBySignal(GetParam()), "");
  EXPECT_EQ(test::read_file(folder / "out"), "whole");
}

TEST_P(TemporariesDeathTest, AnIgnoredSignalStaysIgnored) {
  const auto ignoring = [] {
    std::signal(GetParam(), SIG_IGN);
    remove_temporaries_on_signals();
    raise(GetParam());
    std::_Exit(7);
  };
  EXPECT_EXIT(ignoring(), testing::ExitedWithCode(7), "");
}

// Places on the list come back, and what has none is written all the same.
TEST_P(TemporariesDeathTest, TheListMayBeFull) {
  const test::TemporaryFolder folder;
  const auto interrupted = [&] {
    remove_temporaries_on_signals();
    for (int i = 0; i < 2 * kMostTemporaries; ++i) AtomicFile(folder / "freed").write("text");
    std::deque<AtomicFile> files;
    for (int i = 0; i <= kMostTemporaries; ++i) files.emplace_back(folder / std::to_string(i));
    files.back().commit();
    raise(GetParam());
  };
  EXPECT_EXIT(interrupted(), testing::KilledBySignal(GetParam()), "");
  EXPECT_TRUE(std::filesystem::remove(folder / std::to_string(kMostTemporaries)));
  EXPECT_TRUE(is_empty(folder));
}

INSTANTIATE_TEST_SUITE_P(Signals, TemporariesDeathTest, testing::Values(SIGINT, SIGTERM, SIGHUP),
                         [](const auto& signal) { return std::string(sigabbrev_np(signal.param)); });

}  // namespace
}  // namespace mamba3
