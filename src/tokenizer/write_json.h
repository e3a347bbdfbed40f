// Back to Hugging Face's file.
#pragma once

#include <string>

#include "tokenizer/spec.h"

namespace mamba3 {

/// The tokenizer.json that reads back as `spec`.
std::string tokenizer_json(const TokenizerSpec& spec);

}  // namespace mamba3
