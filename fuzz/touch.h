// Reads what a parser promised, so that the sanitizers see a promise that does not hold.
#pragma once

#include <cstddef>
#include <cstdlib>

#include "core/checked.h"
#include "formats/tensor_file.h"

namespace mamba3::fuzz {

/// Reads every byte of every tensor; aborts when a tensor's bytes are not what its shape needs.
inline void touch(const TensorFile& file) {
  volatile unsigned sum = 0;
  for (const auto& [name, view] : file.tensors) {
    const auto elements = checked_elements(view.shape);
    const auto bytes = elements ? bytes_of(view.dtype, *elements) : std::nullopt;
    if (!bytes || static_cast<std::size_t>(*bytes) != view.bytes.size()) std::abort();
    for (const std::byte byte : view.bytes) sum = sum + std::to_integer<unsigned>(byte);
  }
}

}  // namespace mamba3::fuzz
