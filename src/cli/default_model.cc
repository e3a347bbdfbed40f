#include "cli/default_model.h"

extern "C" const std::byte mamba3_default_model_begin[], mamba3_default_model_end[];

namespace mamba3::cli {

std::span<const std::byte> default_model() {
  return {mamba3_default_model_begin, mamba3_default_model_end};
}

}  // namespace mamba3::cli
