// The bytes of a pickle, read from the front.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace mamba3::pickle {

/// Reads never pass the end: they are Error(bad_format) instead. Messages name the file and the position.
class PickleReader {
 public:
  PickleReader(std::span<const std::byte> bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  std::span<const std::byte> take(std::uint64_t size) {
    if (size > bytes_.size() - position_) bad("the pickle ends early, {} bytes more expected", size);
    const auto taken = bytes_.subspan(position_, size);
    position_ += size;
    return taken;
  }

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::string_view text(std::uint64_t size) {
    const auto taken = take(size);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }

  /// Up to a newline, which is taken too.
  std::string_view line() {
    const auto rest = bytes_.subspan(position_);
    const auto end = std::ranges::find(rest, std::byte{'\n'});
    const std::string_view found = text(static_cast<std::uint64_t>(end - rest.begin()));
    take(1);
    return found;
  }

  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> text, Args&&... args) const {
    fail(ErrorCode::bad_format, "{}: data.pkl: {} (at byte {})", file_,
         fmt::format(text, std::forward<Args>(args)...), position_);
  }

  template <typename... Args>
  [[noreturn]] void unsupported(fmt::format_string<Args...> text, Args&&... args) const {
    fail(ErrorCode::unsupported, "{}: data.pkl: {} (at byte {})", file_,
         fmt::format(text, std::forward<Args>(args)...), position_);
  }

 private:
  std::span<const std::byte> bytes_;
  std::string_view file_;
  std::size_t position_ = 0;
};

}  // namespace mamba3::pickle
