#include "selftest/compare.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <string_view>

namespace mamba3::selftest {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kTwoPi = 2 * std::numbers::pi;

bool is_angle(std::string_view tensor) {
  return tensor.find("state.theta") != tensor.npos;
}

bool is_of_model(std::string_view tensor) {
  return tensor.find(".logits") != tensor.npos || tensor.find(".nll") != tensor.npos ||
         tensor.find(".residual") != tensor.npos;
}

double error_on_circle(const Array& found, const Array& golden) {
  double worst = 0;
  for (std::size_t i = 0; i < found.values.size(); ++i) {
    const double difference = std::abs(std::remainder(found.values[i] - golden.values[i], kTwoPi));
    if (std::isnan(difference)) return kNaN;
    worst = std::max(worst, difference);
  }
  return worst;
}

double relative_error(const Array& found, const Array& golden) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < found.values.size(); ++i) {
    difference += std::pow(found.values[i] - golden.values[i], 2);
    norm += std::pow(golden.values[i], 2);
  }
  return std::sqrt(difference) / std::max(std::sqrt(norm), 1e-30);
}

}  // namespace

TensorResult compare(const std::string& tensor, const Array& found, const Array& golden,
                     Precision precision) {
  const double allowed = allowed_error(tensor, precision);
  if (found.shape != golden.shape || found.values.size() != golden.values.size())
    return {tensor, kNaN, allowed};
  return {tensor, is_angle(tensor) ? error_on_circle(found, golden) : relative_error(found, golden), allowed};
}

TensorResult same_bits(const std::string& tensor, const Array& found, const Array& expected) {
  if (found.values.size() != expected.values.size()) return {tensor, kNaN, 0};
  double differing = 0;
  for (std::size_t i = 0; i < found.values.size(); ++i) {
    if (std::isnan(found.values[i])) return {tensor, kNaN, 0};
    differing +=
        std::bit_cast<std::uint64_t>(found.values[i]) != std::bit_cast<std::uint64_t>(expected.values[i]);
  }
  return {tensor, differing, 0};
}

double allowed_error(const std::string& tensor, Precision precision) {
  switch (precision) {
    case Precision::f64:
      return is_angle(tensor) ? 2.5e-7 : 2e-7;  // goldens are float32: half an ulp below 2 pi
    case Precision::f32:
      return is_angle(tensor) ? 2e-5 : is_of_model(tensor) ? 1e-4 : 1e-5;
    case Precision::bf16:
      return 1e-2;
  }
  return 0;
}

double largest_difference(const Array& found, const Array& golden) {
  double worst = 0;
  for (std::size_t i = 0; i < std::min(found.values.size(), golden.values.size()); ++i) {
    worst = std::max(worst, std::abs(found.values[i] - golden.values[i]));
  }
  return worst;
}

}  // namespace mamba3::selftest
