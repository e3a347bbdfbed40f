// What a process may use of its machine.
#include "core/processors.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "support.h"

namespace mamba3 {
namespace {

namespace fs = std::filesystem;

/// A made /proc/self/cgroup and the groups' folders.
class Groups {
 public:
  explicit Groups(std::string_view membership) { std::ofstream(folder_ / "proc") << membership; }
  void set(const std::string& group, std::string_view limit) const {
    const fs::path folder = folder_ / ("mount/" + group);
    fs::create_directories(folder);
    std::ofstream(folder / "cpu.max") << limit << "\n";
  }
  std::optional<int> granted() const { return granted_processors(folder_ / "proc", folder_ / "mount"); }

 private:
  test::TemporaryFolder folder_;
};

TEST(Processors, CoresShareOutTheProcessors) {
  std::set<int> seen;
  std::size_t count = 0;
  for (const Core& core : allowed_cores()) {
    EXPECT_FALSE(core.empty());
    seen.insert(core.begin(), core.end());
    count += core.size();
  }
  EXPECT_EQ(seen.size(), count) << "a processor belongs to one core";
  EXPECT_EQ(static_cast<int>(count), logical_processors());
  EXPECT_GE(default_threads(), 1);
  EXPECT_LE(default_threads(), static_cast<int>(allowed_cores().size()));
}

TEST(Processors, AQuotaIsRoundedUp) {
  const Groups groups("0::/\n");
  const std::vector<std::pair<const char*, int>> cases = {
      {"150000 100000", 2}, {"200000 100000", 2}, {"5000 100000", 1}, {"50000 20000", 3}};
  for (const auto& [limit, expected] : cases) {
    groups.set("", limit);
    EXPECT_EQ(groups.granted(), expected) << limit;
  }
}

TEST(Processors, TheNarrowestGroupCounts) {
  const Groups groups("12:cpu:/old\n0::/outer/in ner\n");
  EXPECT_EQ(groups.granted(), std::nullopt) << "no limits";
  groups.set("outer/in ner", "400000 100000");
  groups.set("outer", "max 100000");
  groups.set("old", "100000 100000");
  EXPECT_EQ(groups.granted(), 4);
  groups.set("outer", "300000 100000");
  EXPECT_EQ(groups.granted(), 3);
  groups.set("", "200000 100000");
  EXPECT_EQ(groups.granted(), 2);
}

TEST(Processors, WhatIsNoLimitIsNone) {
  const Groups groups("0::/a\n");
  for (const char* limit : {"", "max 100000", "100000", "100000 0", "0 100000", "-1 100000", "many few"}) {
    groups.set("a", limit);
    EXPECT_EQ(groups.granted(), std::nullopt) << limit;
  }
  groups.set("a", "9e18 1");
  EXPECT_GT(groups.granted(), 1000);
  EXPECT_EQ(Groups("").granted(), std::nullopt);
  EXPECT_EQ(Groups("12:cpu:/a\n").granted(), std::nullopt);
  EXPECT_EQ(granted_processors("/no/such/file", "/no/such/folder"), std::nullopt);
}

}  // namespace
}  // namespace mamba3
