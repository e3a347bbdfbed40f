#include "cli/default_model.h"

namespace mamba3::cli {

std::span<const std::byte> default_model() {
  return {};
}

}  // namespace mamba3::cli
