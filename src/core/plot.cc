#include "core/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <set>
#include <string_view>

namespace mamba3 {
namespace {

// Okabe and Ito's colours, which stay apart for the colour-blind, without the yellow that white swallows.
constexpr std::array kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000"};

// Pixels.
constexpr double kPanelWidth = 560, kHeight = 400, kLeft = 74, kRight = 126, kTop = 92, kBottom = 60;
constexpr double kPlotWidth = kPanelWidth - kLeft - kRight, kPlotHeight = kHeight - kTop - kBottom;
constexpr double kLegendLine = 17, kTickGap = 34;

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

/// 1234567 as "1.23M", 1500 as "1.5k".
std::string shown(double value) {
  if (value >= 1e6) return fmt::format("{:.3g}M", value / 1e6);
  if (value >= 1e4) return fmt::format("{:.3g}k", value / 1e3);
  return fmt::format("{:.4g}", value);
}

std::string text_at(double x, double y, std::string_view text, std::string_view attributes = {}) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, attributes, escaped(text));
}

std::string segment(double x1, double y1, double x2, double y2, std::string_view colour) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n", x1,
                     y1, x2, y2, colour);
}

/// The least of 1, 2, 2.5, 5 times a power of ten that makes at most `steps` steps up to `top`.
double tick_step(double top, int steps) {
  const double power = std::pow(10, std::floor(std::log10(top / steps)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (top / (factor * power) <= steps) return factor * power;
  }
  return 10 * power;
}

bool is_drawn(const PlotPoint& p) {
  return std::isfinite(p.x) && std::isfinite(p.y);
}

class PanelDrawing {
 public:
  PanelDrawing(const PlotPanel& panel, double left) : panel_(panel), left_(left + kLeft) {
    for (const PlotLine& line : panel.lines) {
      for (const PlotPoint& p : line.points) {
        if (!is_drawn(p)) continue;
        xs_.insert(p.x);
        top_ = std::max({top_, p.y, std::isfinite(p.high) ? p.high : p.y});
      }
    }
    if (top_ <= 0) top_ = 1;
    step_ = tick_step(top_, 6);
    top_ = step_ * std::ceil(top_ / step_ * 1.02);  // the highest point stays off the frame
  }

  std::string draw() const {
    std::string svg = text_at(left_, kTop - 14, panel_.title, "font-weight=\"bold\"");
    svg += y_axis() + x_axis();
    for (std::size_t i = 0; i < panel_.lines.size(); ++i) svg += line(i);
    return svg + legend();
  }

 private:
  double along(double x) const { return panel_.log_x ? std::log1p(std::max(0.0, x)) : x; }

  double x_of(double x) const {
    const double first = along(*xs_.begin()), last = along(*xs_.rbegin());
    constexpr double kMargin = 0.04;  // points keep off the frame
    const double at = last > first ? (along(x) - first) / (last - first) : 0.5;
    return left_ + kPlotWidth * (kMargin + (1 - 2 * kMargin) * at);
  }

  double y_of(double y) const { return kTop + kPlotHeight * (1 - std::clamp(y / top_, 0.0, 1.0)); }

  std::string y_axis() const {
    std::string svg;
    for (int i = 0; i * step_ <= top_ * 1.001; ++i) {
      const double y = y_of(i * step_);
      svg += segment(left_, y, left_ + kPlotWidth, y, i == 0 ? "#444444" : "#dddddd");
      svg += text_at(left_ - 7, y + 4, shown(i * step_), "text-anchor=\"end\"");
    }
    const double x = left_ - kLeft + 15, middle = kTop + kPlotHeight / 2;
    return svg +
           text_at(x, middle, panel_.y_label,
                   fmt::format("text-anchor=\"middle\" transform=\"rotate(-90 {:.1f} {:.1f})\"", x, middle));
  }

  // Ticks at the points themselves, as far as their numbers find room.
  std::string x_axis() const {
    std::string svg;
    const double bottom = kTop + kPlotHeight;
    double free_from = left_ - kTickGap;
    for (const double x : xs_) {
      const double at = x_of(x);
      if (at < free_from) continue;
      free_from = at + kTickGap;
      svg += segment(at, bottom, at, bottom + 5, "#444444") +
             text_at(at, bottom + 19, shown(x), "text-anchor=\"middle\"");
    }
    const std::string label = panel_.x_label + (panel_.log_x ? " (logarithmic)" : "");
    return svg + text_at(left_ + kPlotWidth / 2, bottom + 42, label, "text-anchor=\"middle\"");
  }

  std::string line(std::size_t index) const {
    const char* colour = kColours[index % kColours.size()];
    std::string path, marks;
    for (const PlotPoint& p : panel_.lines[index].points) {
      if (!is_drawn(p)) continue;
      const double x = x_of(p.x), y = y_of(p.y);
      path += fmt::format("{:.1f},{:.1f} ", x, y);
      if (p.high > p.low) marks += segment(x, y_of(p.low), x, y_of(p.high), colour);
      marks += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"/>\n", x, y, colour);
    }
    return fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>\n{}", path,
                       colour, marks);
  }

  std::string legend() const {
    std::string svg;
    const double x = left_ + kPlotWidth + 12;
    double y = kTop;
    for (std::size_t i = 0; i < panel_.lines.size(); ++i, y += kLegendLine) {
      svg += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"14\" height=\"4\" fill=\"{}\"/>\n", x,
                         y + 6, kColours[i % kColours.size()]);
      svg += text_at(x + 20, y + 12, panel_.lines[i].name);
    }
    return svg;
  }

  const PlotPanel& panel_;
  double left_;
  double top_ = 0, step_ = 1;
  std::set<double> xs_;
};

}  // namespace

std::string to_svg(const Plot& plot) {
  const double width = kPanelWidth * static_cast<double>(std::max<std::size_t>(1, plot.panels.size()));
  std::string svg = fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:.0f}\" height=\"{1:.0f}\" viewBox=\"0 0 {0:.0f} "
      "{1:.0f}\" "
      "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n"
      "<rect width=\"{0:.0f}\" height=\"{1:.0f}\" fill=\"#ffffff\"/>\n",
      width, kHeight);
  svg += text_at(18, 28, plot.title, "font-size=\"16\" font-weight=\"bold\"");
  svg += text_at(18, 48, plot.subtitle);
  for (std::size_t i = 0; i < plot.panels.size(); ++i) {
    svg += PanelDrawing(plot.panels[i], kPanelWidth * static_cast<double>(i)).draw();
  }
  return svg + "</svg>\n";
}

}  // namespace mamba3
