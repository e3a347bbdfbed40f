// The model inside the program.
#pragma once

#include <cstddef>
#include <span>

namespace mamba3::cli {

/// A GGUF file; empty in a program that was built without one.
std::span<const std::byte> default_model();

}  // namespace mamba3::cli
