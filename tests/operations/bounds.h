// What float32 arithmetic may lose, from the type and the length of the sums: never from what a test
// measured.
#pragma once

#include <cmath>
#include <cstdint>

#include "mixers/mamba3/config.h"

namespace mamba3::test {

/// Unit roundoff of float32: one operation is off by at most this, relatively.
inline constexpr double kUnit = 0x1p-24;

/// Results below the smallest normal number may be flushed to zero.
inline constexpr double kSmallest = 0x1p-126;

/// A sum of n products whose absolute values sum to `magnitude`. Higham and Mary, "A new approach to
/// probabilistic rounding error analysis" (2019): beyond lambda sqrt(n) u magnitude with a probability below
/// 2 n exp(-lambda^2 / 2), in any order of summation; lambda = 6. Two more roundings are for the scale of a
/// Q8_0 block. Weights of every type are exact in float32 (a Q8_0 value has 11 + 7 bits), so the weights'
/// type does not enter.
inline double sum_bound(std::int64_t n, double magnitude) {
  return 6 * std::sqrt(static_cast<double>(n) + 2) * kUnit * magnitude;
}

/// Elementary functions of Highway, in units of roundoff (a unit in the last place is up to two): Exp 1 ulp,
/// Log1p 2, Sin and Cos 3, Tanh 4 (hwy/contrib/math/math-inl.h).
inline constexpr double kExp = 2, kLog1p = 4, kSinCos = 6, kTanh = 8;

/// value * silu(gate): one function, and five roundings.
inline double swiglu_bound(double result) {
  return (kExp + 5) * kUnit * std::abs(result) + kSmallest;
}

/// Error that one normed and scaled value may have: `scaled` is the value before the bias, `slope` what a
/// unit of x makes there, `mean_magnitude` the mean of |x|. Half the relative error of the sum of squares
/// passes through the square root, and that of the mean (LayerNorm) twice: into the value and into the
/// squares.
inline double norm_bound(std::int64_t width, double scaled, double slope, double mean_magnitude,
                         double bias) {
  const double mean = sum_bound(width, mean_magnitude);
  return sum_bound(width, 0.5 * std::abs(scaled)) + 6 * kUnit * std::abs(scaled) +
         2 * std::abs(slope) * mean + kUnit * std::abs(scaled + bias);
}

/// A log-sum-exp over logits that are off by up to `logit`, and a target logit that is, too. exp(l - largest)
/// is off by its own error and that of the difference (`range`: the largest minus the smallest logit); lanes
/// add 16 terms.
inline double cross_entropy_bound(double logit, double range) {
  return 2 * logit + (kExp + range) * kUnit + sum_bound(16, 1);
}

/// How far a Mamba-3 layer may be from float64.
struct Mamba3Bound {
  double angle;     ///< radians
  double relative;  ///< |found - expected| / |expected|, norms over all values
};

/// n independent roundings leave sqrt(n / 3) u in norm (each is uniform in +-u): twice that is allowed. The
/// longest way of a value: in_proj (D products), the norms of B and C (N), their product (N), the tokens that
/// a state sums (R of them each), out_proj (E), and the functions on the way: Exp, Log1p, Tanh, and Sin and
/// Cos.
///
/// An angle is a sum over the tokens: below 8, two roundings of 4 u each, and a turn of at most pi dt
/// radians, whose factors tanh(angle) and softplus(dd_dt) are off by the functions' errors and by in_proj's.
/// 2 pi itself is off by 2.94 u in float32, once for each whole turn. Angles turn q and k, so they count
/// twice in what depends on both.
inline Mamba3Bound mamba3_bound(const Mamba3Config& c, std::int64_t tokens, double largest_dt) {
  const auto T = static_cast<double>(tokens), D = static_cast<double>(c.d_model);
  const auto N = static_cast<double>(c.d_state), E = static_cast<double>(c.d_inner());
  const auto R = static_cast<double>(c.rank());
  const double functions = kExp * kExp + kLog1p * kLog1p + kTanh * kTanh;
  const double turn = 3.1415926535897932 * largest_dt;
  const double walk = T * (2 * 16.0 / 3 + turn * turn * (functions + D / 3));
  const double turns = T * largest_dt / 2;
  const double angle = c.n_angles() == 0 ? 0 : kUnit * (2 * std::sqrt(walk) + 2.94 * turns);
  const double roundings = (D + 2 * N + R * T + E) / 3 + functions + kSinCos * kSinCos;
  return {angle, 2 * kUnit * std::sqrt(roundings) + 2 * angle};
}

}  // namespace mamba3::test
