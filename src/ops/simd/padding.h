// Padding of buffers that vectors walk over.
#pragma once

#include <cstdint>

namespace mamba3 {

/// The widest vector in use, in floats (AVX-512): buffers are padded to it, so that no loop has a remainder.
inline constexpr std::int64_t kPadding = 16;

constexpr std::int64_t padded(std::int64_t n) {
  return (n + kPadding - 1) / kPadding * kPadding;
}

}  // namespace mamba3
