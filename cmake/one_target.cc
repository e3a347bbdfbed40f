// The compiled part of Highway for a build that has its headers alone. Such a build generates code for one
// instruction set, so there is nothing to choose.
#include <hwy/targets.h>

namespace hwy {

static_assert((HWY_TARGETS & (HWY_TARGETS - 1)) == 0, "more than one target needs libhwy");

std::int64_t SupportedTargets() {
  return HWY_TARGETS;
}

void DisableTargets(std::int64_t) {}

void SetSupportedTargetsForTest(std::int64_t) {}

ChosenTarget& GetChosenTarget() {
  static ChosenTarget chosen;
  return chosen;
}

}  // namespace hwy
