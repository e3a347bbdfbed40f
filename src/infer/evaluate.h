// How well a model predicts a text: negative log likelihood in windows from a fresh state.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "mamba3/model.h"

namespace mamba3 {

struct EvaluateOptions {
  std::int64_t window = 1024;     ///< tokens a window predicts
  std::int64_t max_windows = -1;  ///< negative: all
};

struct Evaluation {
  double total_nll = 0;  ///< nats
  std::int64_t tokens = 0;
  std::int64_t windows = 0;
  std::int64_t bytes = 0;  ///< of the predicted tokens; special ones have none
  double seconds = 0;

  double nll() const { return total_nll / static_cast<double>(tokens); }  ///< nats a token
  double ppl() const;
  double bits_per_byte() const;  ///< NaN when no predicted token has bytes
  double tokens_per_s() const;
};

/// Called after each window. `fraction` of the work that is done, as far as can be told.
using EvaluateProgress = std::function<void(const Evaluation& so_far, double fraction)>;

/// The tokens of the text are the start token and the ids of each document that is not empty, joined; window
/// i of W predicts tokens W i + 1 to W i + W from a fresh session that reads tokens W i to W i + W - 1. An
/// incomplete last window is left out. Throws Error: invalid_argument when the text is shorter than a window
/// (`name` stands for it), not_found without a tokenizer, numeric when a prediction is no number.
Evaluation evaluate(const Model& model, std::string_view text, const std::string& name,
                    const EvaluateOptions& options, const EvaluateProgress& progress = {});

}  // namespace mamba3
