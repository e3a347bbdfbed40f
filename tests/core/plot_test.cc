#include "core/plot.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>
#include <vector>

namespace mamba3 {
namespace {

/// Fails unless every element is closed in order, every attribute quoted, and nothing stands outside the
/// root.
void expect_well_formed(std::string_view xml) {
  ASSERT_TRUE(xml.starts_with("<?xml "));
  xml.remove_prefix(xml.find("?>") + 2);
  std::vector<std::string_view> open;
  int roots = 0;
  while (!xml.empty()) {
    const auto tag = xml.find('<');
    const auto text = xml.substr(0, tag);
    EXPECT_EQ(text.find('>'), text.npos) << text;
    if (open.empty()) {
      EXPECT_EQ(text.find_first_not_of(" \n"), text.npos) << text;
    }
    for (auto at = text.find('&'); at != text.npos; at = text.find('&', at + 1)) {
      const auto rest = text.substr(at);
      EXPECT_TRUE(rest.starts_with("&amp;") || rest.starts_with("&lt;") || rest.starts_with("&gt;")) << text;
    }
    if (tag == xml.npos) break;
    const auto end = xml.find('>', tag);
    ASSERT_NE(end, xml.npos);
    auto inside = xml.substr(tag + 1, end - tag - 1);
    xml.remove_prefix(end + 1);
    EXPECT_EQ(std::count(inside.begin(), inside.end(), '"') % 2, 0) << inside;
    if (inside.starts_with('/')) {
      ASSERT_FALSE(open.empty()) << inside;
      EXPECT_EQ(open.back(), inside.substr(1));
      open.pop_back();
      continue;
    }
    roots += open.empty() ? 1 : 0;
    if (!inside.ends_with('/')) open.push_back(inside.substr(0, inside.find(' ')));
  }
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(roots, 1);
}

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

Plot small_plot() {
  return {"a & b <c>",
          "2 > 1",
          {{"rate", "tokens \"read\"", "tokens/s", true, {{"one", {{0, 5, 4, 6}, {128, 10, 10, 10}}}}}}};
}

TEST(Plot, IsWellFormedAndHoldsItsTexts) {
  const std::string svg = to_svg(small_plot());
  expect_well_formed(svg);
  for (const char* text :
       {"a &amp; b &lt;c&gt;", "2 &gt; 1", "tokens/s", "(logarithmic)", ">one<", ">128<"}) {
    EXPECT_NE(svg.find(text), svg.npos) << text;
  }
  EXPECT_EQ(count(svg, "<circle"), 2u);
}

TEST(Plot, DrawsHigherValuesHigher) {
  const std::string svg = to_svg(small_plot());
  const auto place = [&](const char* what, std::size_t from) {
    const auto at = svg.find(what, from) + std::string_view(what).size();
    return std::stod(svg.substr(at));
  };
  const auto first = svg.find("<circle"), second = svg.find("<circle", first + 1);
  EXPECT_GT(place("cy=\"", first), place("cy=\"", second));
  EXPECT_LT(place("cx=\"", first), place("cx=\"", second));
}

TEST(Plot, LeavesOutWhatIsNoNumber) {
  Plot plot = small_plot();
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  plot.panels[0].lines[0].points.push_back({3, nan, nan, nan});
  plot.panels[0].lines[0].points.push_back({infinity, 3, 3, 3});
  const std::string svg = to_svg(plot);
  expect_well_formed(svg);
  EXPECT_EQ(svg.find("nan"), svg.npos);
  EXPECT_EQ(svg.find("inf"), svg.npos);
  EXPECT_EQ(count(svg, "<circle"), 2u);
}

TEST(Plot, StandsEmptyValuesAndOnePoint) {
  expect_well_formed(to_svg({}));
  expect_well_formed(
      to_svg({"t", "s", {{"p", "x", "y", false, {}}, {"p", "x", "y", false, {{"none", {}}}}}}));
  const std::string svg = to_svg({"t", "s", {{"p", "x", "y", true, {{"line", {{1, 0, 0, 0}}}}}}});
  expect_well_formed(svg);
  EXPECT_EQ(svg.find("nan"), svg.npos);
  EXPECT_EQ(count(svg, "<circle"), 1u);
}

}  // namespace
}  // namespace mamba3
