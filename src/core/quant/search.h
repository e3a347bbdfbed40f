// The search for the scale (and minimum) of a block that keep its weighted squared error small.
//
// Rounding to codes makes the error a function of the scale with many local minima. So a range of scales
// around the one that fits the largest value is tried; for the codes each of them gives, weighted least
// squares say the best scale and its error. (The idea of ggml's make_qx_quants and make_qkx3_quants.)
#pragma once

#include <cstdint>

namespace mamba3::quant {

/// Codes that are integers in [lowest, highest].
struct CodeRange {
  int lowest, highest;
};

/// x ~ scale q - minus, minus >= 0.
struct Affine {
  float scale = 0, minus = 0;
};

/// float16 bits of a scale, never infinite.
std::uint16_t stored_scale(float scale);

/// Weights of the squared errors of n values, mean 1: importance (null: all alike) times sqrt(2 mean(x^2) +
/// x^2), for a large weight moves the output more often than a small one. n is a multiple of 4.
void error_weights(const float* x, const float* importance, int n, float* w);

/// The scale of x ~ scale q with the least error sum w (x - scale q)^2; 0 when every value is too small for
/// float16. Negative where that puts the largest value on the longer side of the range. n is a multiple of 4.
float fit_scale(const float* x, const float* w, int n, CodeRange range);

/// The same for x ~ scale q - minus with codes in [0, highest].
Affine fit_affine(const float* x, const float* w, int n, int highest);

/// The nearest codes of x under `fit`, and their weighted squared error. n is a multiple of 4.
float nearest_codes(const float* x, const float* w, int n, Affine fit, CodeRange range, float* q);

}  // namespace mamba3::quant
