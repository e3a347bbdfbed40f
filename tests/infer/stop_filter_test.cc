#include "infer/stop_filter.h"

#include <gtest/gtest.h>

namespace mamba3 {
namespace {

TEST(StopFilter, PassesTextWithoutStops) {
  StopFilter filter({});
  EXPECT_EQ(filter.push("abc"), "abc");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, HoldsBackWhatMayBeginAStopText) {
  StopFilter filter({"END"});
  EXPECT_EQ(filter.push("the E"), "the ");
  EXPECT_EQ(filter.push("N"), "");
  EXPECT_EQ(filter.held(), "EN");
  EXPECT_EQ(filter.push("ENE"), "ENEN");
  EXPECT_EQ(filter.finish(), "E");
  EXPECT_FALSE(filter.stopped());
}

TEST(StopFilter, EndsBeforeTheEarliestStopText) {
  StopFilter filter({"cd", "bc"});
  EXPECT_EQ(filter.push("abcde"), "a");
  EXPECT_TRUE(filter.stopped());
  EXPECT_EQ(filter.push("more"), "");
  EXPECT_EQ(filter.finish(), "");
}

TEST(StopFilter, FindsAStopTextThatComesInPieces) {
  StopFilter filter({"\n\n"});
  EXPECT_EQ(filter.push("a\n"), "a");
  EXPECT_EQ(filter.push("b\n"), "\nb");
  EXPECT_EQ(filter.push("\nc"), "");
  EXPECT_TRUE(filter.stopped());
}

TEST(StopFilter, GoesOnWithWhatWasHeldBefore) {
  StopFilter first({"stop"}), second({"stop"});
  EXPECT_EQ(first.push("a st"), "a ");
  second.resume(first.held());
  EXPECT_EQ(second.push("op"), "");
  EXPECT_TRUE(second.stopped());
}

}  // namespace
}  // namespace mamba3
