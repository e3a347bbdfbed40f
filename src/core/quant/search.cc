#include "core/quant/search.h"

#include <algorithm>
#include <cmath>

#include "core/half.h"

namespace mamba3::quant {
namespace {

constexpr float kLargestHalf = 65504;
// Below half of float16's smallest number no scale is of use.
constexpr float kSmallest = 0x1p-25f;

// Four floats in one register (a vector of GCC and Clang, on every processor): sums are kept in four lanes
// and always added up in the same order.
using Four = float __attribute__((vector_size(16)));
constexpr int kLanes = 4;

Four load(const float* from) {
  Four value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

Four all(float value) {
  return Four{value, value, value, value};
}

double total(Four lanes) {
  return (double{lanes[0]} + double{lanes[1]}) + (double{lanes[2]} + double{lanes[3]});
}

float sum_of(const float* x, int n) {
  Four sum{};
  for (int i = 0; i < n; i += kLanes) sum += load(x + i);
  return static_cast<float>(total(sum));
}

// Rounds to the nearest code of the range.
class Rounding {
 public:
  explicit Rounding(CodeRange range)
      : lowest_(all(static_cast<float>(range.lowest))), highest_(all(static_cast<float>(range.highest))) {}

  Four operator()(Four value) const {
    const Four most = value < highest_ ? value : highest_;
    // Adding 1.5 * 2^23 leaves no fraction bits in float32.
    return ((most > lowest_ ? most : lowest_) + 12582912.0f) - 12582912.0f;
  }

 private:
  Four lowest_, highest_;
};

// Weighted sums over the codes q of (x + minus) * inverse.
struct Moments {
  double q, qq, xq;
};

Moments moments(const float* x, const float* w, int n, float inverse, float minus, CodeRange range) {
  const Rounding rounded(range);
  Four q{}, qq{}, xq{};
  for (int i = 0; i < n; i += kLanes) {
    const Four value = load(x + i), code = rounded((value + minus) * inverse), weighted = load(w + i) * code;
    q += weighted;
    qq += weighted * code;
    xq += weighted * value;
  }
  return {total(q), total(qq), total(xq)};
}

}  // namespace

std::uint16_t stored_scale(float scale) {
  return float_to_f16(std::clamp(scale, -kLargestHalf, kLargestHalf));
}

void error_weights(const float* x, const float* importance, int n, float* w) {
  for (int i = 0; i < n; ++i) w[i] = x[i] * x[i];
  const float spread = 2 * sum_of(w, n) / static_cast<float>(n);
  for (int i = 0; i < n; ++i) w[i] = std::sqrt(spread + w[i]);
  if (importance != nullptr) {
    const float most = *std::max_element(importance, importance + n);
    if (most > 0) {  // columns that the calibration never saw are all alike
      for (int i = 0; i < n; ++i) w[i] *= importance[i] / most;
    }
  }
  const float mean = sum_of(w, n) / static_cast<float>(n);
  for (int i = 0; i < n; ++i) w[i] = mean > 0 ? w[i] / mean : 1.0f;
}

float fit_scale(const float* x, const float* w, int n, CodeRange range) {
  const float extreme =
      *std::max_element(x, x + n, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  if (std::fabs(extreme) < kSmallest) return 0;
  const auto end = static_cast<float>(-range.lowest > range.highest ? range.lowest : range.highest);
  float scale = extreme / end;
  double best = 0;
  // The largest value up to 0.9 codes beside the end of the range: further out clipping costs more than finer
  // steps give.
  for (int step = -9; step <= 9; ++step) {
    const float inverse = (end + 0.1f * static_cast<float>(step)) / extreme;
    const Moments m = moments(x, w, n, inverse, 0, range);
    if (m.qq > 0 && m.xq * m.xq > best * m.qq) {  // the error is sum w x^2 - xq^2 / qq
      best = m.xq * m.xq / m.qq;
      scale = static_cast<float>(m.xq / m.qq);
    }
  }
  return scale;
}

Affine fit_affine(const float* x, const float* w, int n, int highest) {
  const auto [least, most] = std::minmax_element(x, x + n);
  const float minus = std::max(0.0f, -*least), width = *most + minus;
  if (width < kSmallest) return {0, minus};
  const double sw = sum_of(w, n);
  float wx[32];
  for (int i = 0; i < n; ++i) wx[i] = w[i] * x[i];
  const double sx = sum_of(wx, n);
  Affine best{width / static_cast<float>(highest), minus};
  double least_error = 0;
  bool found = false;
  // The width spread over highest - 0.9 to highest + 0.9 steps.
  for (int step = -18; step <= 18; ++step) {
    const float inverse = (static_cast<float>(highest) + 0.05f * static_cast<float>(step)) / width;
    const Moments m = moments(x, w, n, inverse, minus, {0, highest});
    const double det = sw * m.qq - m.q * m.q;
    if (det <= 0) continue;
    double a = (sw * m.xq - sx * m.q) / det, b = (m.q * m.xq - m.qq * sx) / det;
    if (b < 0) {
      b = 0;
      a = m.xq / m.qq;
    }
    // The error without sum w x^2, which all candidates share.
    const double error = a * a * m.qq + b * b * sw - 2 * a * b * m.q - 2 * a * m.xq + 2 * b * sx;
    if (!found || error < least_error) {
      found = true;
      least_error = error;
      best = {static_cast<float>(a), static_cast<float>(b)};
    }
  }
  return best;
}

float nearest_codes(const float* x, const float* w, int n, Affine fit, CodeRange range, float* q) {
  const Rounding rounded(range);
  const float inverse = std::fabs(fit.scale) > 0 ? 1 / fit.scale : 0;
  Four error{};
  for (int i = 0; i < n; i += kLanes) {
    const Four value = load(x + i), code = rounded((value + fit.minus) * inverse);
    const Four off = value - (fit.scale * code - fit.minus);
    error += load(w + i) * off * off;
    __builtin_memcpy(q + i, &code, sizeof code);
  }
  return static_cast<float>(total(error));
}

}  // namespace mamba3::quant
