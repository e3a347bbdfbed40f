// How fast a model reads and writes on this machine, after a check that it does so correctly.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "mamba3/model.h"

namespace mamba3 {

inline constexpr double kAllowedLogitsError = 1e-4;  ///< relative in norm, float32

/// Relative errors in norm of the logits after a few tokens, against the float32 reference.
struct Agreement {
  std::int64_t tokens = 0;
  double prefill_error = 0;
  double step_error = 0;

  bool holds() const;  ///< both within kAllowedLogitsError; false for NaN
};

/// Reads made-up tokens by prefill, by single steps and by the reference; fewer for large models, since the
/// reference is plain loops over float32 copies of the weights.
Agreement agreement_with_reference(const Model& model);

struct MeasureOptions {
  std::int64_t prompt_tokens = 512;
  std::int64_t decode_tokens = 128;
  std::int64_t repeats = 3;

  /// Throws Error(invalid_argument).
  void check() const;
};

/// Tokens a second, one value a repeat.
struct Rates {
  std::vector<double> prefill;
  std::vector<double> decode;  ///< a step and its logits
};

struct Spread {
  double least, median, most;
};
Spread spread_of(std::vector<double> values);  ///< precondition: there is one

/// One round that does not count, then `repeats`. `progress` hears what begins.
Rates measure(const Model& model, const MeasureOptions& options,
              const std::function<void(std::string_view)>& progress = {});

}  // namespace mamba3
