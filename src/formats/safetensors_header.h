// The JSON header of a .safetensors file.
// Source: https://github.com/huggingface/safetensors#format
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace mamba3 {

inline constexpr std::string_view kSafetensorsMetadata = "__metadata__";
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;  ///< bytes; the reference library's limit
inline constexpr std::size_t kMaxSafetensorsAxes = 64;

/// One tensor's row, its types checked and its numbers not yet.
struct SafetensorsEntry {
  std::string name;
  std::string dtype;
  Shape shape;
  std::int64_t begin = 0;  ///< byte offsets behind the header
  std::int64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  ///< in the header's order
  std::map<std::string, std::string> metadata;
};

/// Reads the header's text. Anything but the format's own structure (a duplicate name, an unknown field, a
/// value of another type, deeper nesting) is Error(bad_format), which begins with `file`.
SafetensorsHeader parse_safetensors_header(std::string_view text, std::string_view file);

}  // namespace mamba3
