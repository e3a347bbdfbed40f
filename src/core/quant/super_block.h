// The search for the two levels of scales of a K-quant's 256 values.
#pragma once

#include <array>
#include <cstdint>

#include "core/dtype.h"
#include "core/quant/search.h"

namespace mamba3::quant {

inline constexpr int kSuperValues = static_cast<int>(kKElements);
inline constexpr int kMostGroups = 16;

/// How a type divides its values and what its numbers may be.
struct SuperShape {
  int groups;
  CodeRange codes, scales, mins;  ///< mins {0, 0}: the type has none

  int width() const { return kSuperValues / groups; }
  bool has_min() const { return mins.highest > 0; }
};

/// x = d scale[g] q - dmin min[g] for the values of group g.
struct SuperBlock {
  std::uint16_t d = 0, dmin = 0;  ///< float16 bits
  std::array<int, kMostGroups> scale{}, min{};
  std::array<float, kSuperValues> q{};  ///< integers
};

/// The block with a small sum of w (x - value)^2; x and w hold 256 values.
SuperBlock fit_super_block(const SuperShape& shape, const float* x, const float* w);

}  // namespace mamba3::quant
