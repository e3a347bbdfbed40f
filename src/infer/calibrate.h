// The importance matrix of a model, measured on a text.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "mamba3/model.h"
#include "model/importance.h"

namespace mamba3 {

struct CalibrateOptions {
  std::int64_t tokens = 512;  ///< of a chunk, a multiple of kBlockRows
  std::int64_t most = -1;     ///< chunks; negative: all
};

/// Called after each chunk: tokens read, and the part of the work that is done, as far as can be told.
using CalibrateProgress = std::function<void(std::int64_t tokens, double fraction)>;

/// Reads the text in chunks, each from a fresh state, and adds up the squares of what every matrix is given.
/// The tokens are those that evaluate() reads; an incomplete last chunk is left out. Throws Error:
/// invalid_argument when the text is shorter than a chunk (`name` stands for it), not_found without a
/// tokenizer, numeric when an input is no number.
ImportanceMatrix calibrate(const Model& model, std::string_view text, const std::string& name,
                           const CalibrateOptions& options, const CalibrateProgress& progress = {});

}  // namespace mamba3
