// What a handful or a million of measured values say together.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace mamba3 {

/// The value below which a fraction `q` in [0, 1] of the values lies, between two neighbours by their
/// distance. Precondition: there is one.
inline double quantile_of(std::vector<double> values, double q) {
  std::ranges::sort(values);
  const double at = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

struct Spread {
  double least, median, most;
};

/// Precondition: there is a value.
inline Spread spread_of(const std::vector<double>& values) {
  return {quantile_of(values, 0), quantile_of(values, 0.5), quantile_of(values, 1)};
}

/// A mean and its error, from values that are added one by one (Welford 1962).
class Mean {
 public:
  void add(double value) {
    ++count_;
    const double step = value - mean_;
    mean_ += step / static_cast<double>(count_);
    squares_ += step * (value - mean_);
  }
  std::int64_t count() const { return count_; }
  double value() const { return count_ > 0 ? mean_ : std::nan(""); }
  /// Of the mean, for independent values; NaN for fewer than two.
  double standard_error() const {
    const auto n = static_cast<double>(count_);
    return count_ > 1 ? std::sqrt(squares_ / (n - 1) / n) : std::nan("");
  }

 private:
  std::int64_t count_ = 0;
  double mean_ = 0;
  double squares_ = 0;
};

}  // namespace mamba3
