// A session's state in a file (docs/formats.md).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/network.h"

namespace mamba3 {

struct SavedState {
  NetworkState network;
  std::string note;  ///< a caller's own text
};

/// What identifies a model: its configuration, its table of tensors, and the first and last bytes of each as
/// a file of rows has them, so that its twin in tiles is the same model.
std::uint64_t fingerprint(const Checkpoint& checkpoint);

/// Atomic. Throws Error(io).
void write_state(const std::filesystem::path& path, std::uint64_t model, const SavedState& state);

/// Throws Error(bad_format) when the bytes are no whole state, Error(invalid_argument) when it is another
/// model's. `network` gives the sizes that are expected; `name` stands for the file in messages.
SavedState parse_state(std::span<const std::byte> bytes, std::string_view name, std::uint64_t model,
                       const Network& network);

}  // namespace mamba3
