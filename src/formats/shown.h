// Names from a file inside a message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/error.h"

namespace mamba3 {

/// A name from a file as a message shows it: quoted, control characters escaped, cut when it is very long.
inline std::string shown(std::string_view name) {
  constexpr std::size_t kLongest = 120;
  return fmt::format("{:?}{}", name.substr(0, kLongest), name.size() > kLongest ? "..." : "");
}

}  // namespace mamba3
