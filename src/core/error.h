// Throwing an Error with a formatted sentence.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "mamba3/error.h"

namespace mamba3 {

/// fail(ErrorCode::bad_format, "{}: {} has {} rows, expected {}", file, name, found, expected);
template <typename... Args>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<Args...> text, Args&&... args) {
  throw Error(code, fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace mamba3
