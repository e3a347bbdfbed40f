// How far a model's predictions lie from a reference's: what quantizing costs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/statistics.h"
#include "mamba3/model.h"

namespace mamba3 {

/// Two rows of logits for the same place. Sums in float64.
struct RowDivergence {
  double kl = 0;             ///< sum of p_ref log(p_ref / p), in nats
  double nll = 0;            ///< minus the log probability of the token that follows, in nats
  double reference_nll = 0;  ///< the same under the reference
  double error = 0;          ///< |logits - reference|^2 ...
  double norm = 0;           ///< ... and |reference|^2
  bool same_top = false;     ///< the likeliest token is the same
};
RowDivergence compare_rows(std::span<const float> reference, std::span<const float> logits, TokenId next);

/// Rows added up.
struct Divergence {
  std::vector<double> kl;  ///< of every token
  Mean nll, reference_nll, nll_difference, same_top;
  double error = 0, norm = 0;

  void add(const RowDivergence& row);
  double mean_kl() const;
  double logits_error() const;  ///< relative in norm
};

struct DriftBucket {
  std::int64_t first = 0, last = 0;  ///< positions, first to last - 1
  Divergence divergence;
};

struct DivergenceOptions {
  std::int64_t window = 1024;        ///< tokens a window predicts from a fresh state, read by prefill
  std::int64_t max_windows = -1;     ///< negative: all
  std::int64_t drift_tokens = 4096;  ///< of one text, read by single steps; 0: none
};

struct Comparison {
  Divergence windows;
  std::int64_t window_count = 0;
  std::vector<DriftBucket> drift;  ///< eighths of the run
  double seconds = 0;
};

/// `tokens` of `total` are compared.
using CompareProgress = std::function<void(std::int64_t tokens, std::int64_t total, double seconds)>;

/// Compares `model` with `reference` on `ids`: windows of them by prefill, each from a fresh state, an
/// incomplete last one left out; then the first drift_tokens by single steps, as a long continuation reads
/// them, so that errors which compound along the sequence show. Holds a few rows of logits at a time. Throws
/// Error: invalid_argument when the vocabularies differ, the options are out of range, or there are too few
/// ids, numeric when a prediction is no number.
Comparison compare(const Model& model, const Model& reference, std::span<const TokenId> ids,
                   const DivergenceOptions& options, const CompareProgress& progress = {});

/// Tokens that a comparison needs; for all windows (max_windows < 0) as many as there are.
std::int64_t tokens_needed(const DivergenceOptions& options);

}  // namespace mamba3
