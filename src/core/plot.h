// Line charts as SVG text: axes, units, a legend, the spread of every point.
#pragma once

#include <string>
#include <vector>

namespace mamba3 {

struct PlotPoint {
  double x = 0, y = 0;
  double low = 0, high = 0;  ///< spread of y, drawn as a bar when it is wide enough to be seen
};

struct PlotLine {
  std::string name;  ///< in the legend
  std::vector<PlotPoint> points;
};

struct PlotPanel {
  std::string title;
  std::string x_label, y_label;  ///< with their units
  bool log_x = false;            ///< distances along log(1 + x), so that 0 has a place too
  std::vector<PlotLine> lines;
};

struct Plot {
  std::string title, subtitle;
  std::vector<PlotPanel> panels;  ///< side by side
};

/// One well-formed SVG document that needs nothing else. y starts at 0; ticks of x stand at the points when
/// there are few. Points that are not finite are left out. Texts may hold anything but control characters.
std::string to_svg(const Plot& plot);

}  // namespace mamba3
