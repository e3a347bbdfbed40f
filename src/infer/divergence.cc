#include "infer/divergence.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "core/arena.h"
#include "core/error.h"
#include "core/threads.h"
#include "model/finite.h"
#include "model/network.h"

namespace mamba3 {
namespace {

constexpr std::int64_t kDriftBuckets = 8;
// Rows of logits held at once: 8 MB a model at 128,256 tokens, and enough for both threads to share.
constexpr std::int64_t kRows = 16;

/// log(sum exp) of logits, relative to the largest.
struct Normalizer {
  explicit Normalizer(std::span<const float> logits) {
    const auto largest = std::ranges::max_element(logits);
    top = largest - logits.begin();
    shift = *largest;
    for (const float v : logits) sum += std::exp(v - shift);
    log_sum = std::log(sum);
  }
  double log_probability(float logit) const { return logit - shift - log_sum; }

  std::ptrdiff_t top;
  double shift, sum = 0, log_sum;
};

/// One of the two models, on its way along a text.
class Reader {
 public:
  explicit Reader(const Model& model)
      : network_(model.network()),
        width_(network_.config().d_model),
        state_(network_.zero_state()),
        logits_(static_cast<std::size_t>(kRows * model.vocab_size())) {}

  void restart() { state_ = network_.zero_state(); }

  /// Hidden vectors of ids, which follow what was read before.
  void prefill(std::span<const TokenId> ids) {
    resize(std::ssize(ids));
    std::vector<float> last(static_cast<std::size_t>(width_));
    float* to = hidden_.data();
    const auto keep = [&](const RowWindow& rows, const float* hidden) {
      to = std::copy(hidden + rows.begin * width_, hidden + rows.end * width_, to);
    };
    network_.prefill(arena_, ids, state_, last.data(), {.on_hidden = keep});
  }
  void step(std::span<const TokenId> ids) {
    resize(std::ssize(ids));
    NetworkState* state = &state_;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      network_.step(arena_, ids.subspan(i, 1), {&state, 1},
                    hidden_.data() + static_cast<std::int64_t>(i) * width_);
    }
  }

  /// Logits of rows [first, first + count) of what was read last.
  void predict(std::int64_t first, std::int64_t count) {
    network_.logits(arena_, hidden_.data() + first * width_, count, logits_.data());
  }
  std::span<const float> row(std::int64_t i) const {
    const auto vocabulary = logits_.size() / static_cast<std::size_t>(kRows);
    return std::span(logits_).subspan(static_cast<std::size_t>(i) * vocabulary, vocabulary);
  }

 private:
  void resize(std::int64_t rows) { hidden_.resize(static_cast<std::size_t>(rows * width_)); }

  const Network& network_;
  std::int64_t width_;
  NetworkState state_;
  Arena arena_;
  std::vector<float> hidden_, logits_;
};

class Comparing {
 public:
  Comparing(const Model& model, const Model& reference)
      : models_{&model, &reference}, model_(model), reference_(reference) {}

  void restart() {
    model_.restart();
    reference_.restart();
  }

  /// Reads ids but the last, with `read`, and compares what is predicted at each. Calls add(i, row).
  template <typename Read, typename Add>
  void run(std::span<const TokenId> ids, const Read& read, const Add& add) {
    const auto inputs = ids.first(ids.size() - 1);
    (model_.*read)(inputs);
    (reference_.*read)(inputs);
    for (std::int64_t first = 0; first < std::ssize(inputs); first += kRows) {
      const std::int64_t count = std::min(kRows, std::ssize(inputs) - first);
      model_.predict(first, count);
      reference_.predict(first, count);
      std::vector<RowDivergence> rows(static_cast<std::size_t>(count));
      parallel_each(count, [&](std::int64_t i) {
        const TokenId next = ids[static_cast<std::size_t>(first + i + 1)];
        rows[static_cast<std::size_t>(i)] = compare_rows(reference_.row(i), model_.row(i), next);
      });
      for (const RowDivergence& row : rows) {
        require_finite(row);
        add(row);
      }
    }
  }

 private:
  void require_finite(const RowDivergence& row) const {
    if (std::isfinite(row.kl) && std::isfinite(row.nll)) return;
    for (const Model* model : models_) check_finite(model->network().checkpoint());
    fail(ErrorCode::numeric, "{}: the predictions, or those of the reference {}, are not finite numbers",
         models_[0]->name(), models_[1]->name());
  }

  const Model* models_[2];
  Reader model_, reference_;
};

void check(const DivergenceOptions& options) {
  constexpr std::int64_t kLongest = std::int64_t{1} << 30;
  if (options.window < 1 || options.window > kLongest) {
    fail(ErrorCode::invalid_argument, "the window is {} tokens, expected 1 to {}", options.window, kLongest);
  }
  if (options.drift_tokens < 0 || options.drift_tokens > kLongest) {
    fail(ErrorCode::invalid_argument, "the drift run is {} tokens, expected 0 to {}", options.drift_tokens,
         kLongest);
  }
  if (options.max_windows == 0) fail(ErrorCode::invalid_argument, "0 windows leave nothing to compare");
}

void check_ids(std::span<const TokenId> ids, const DivergenceOptions& options) {
  const auto require = [&](const char* what, std::int64_t tokens) {
    if (std::ssize(ids) > tokens) return;
    fail(ErrorCode::invalid_argument, "there are {} tokens to read, {} of {} needs at least {}", ids.size(),
         what, tokens, tokens + 1);
  };
  require("a window", options.window);
  if (options.drift_tokens > 0) require("a drift run", options.drift_tokens);
}

void check_vocabularies(const Model& model, const Model& reference) {
  if (model.vocab_size() == reference.vocab_size()) return;
  fail(ErrorCode::invalid_argument, "{} has a vocabulary of {} tokens, the reference {} one of {}",
       model.name(), model.vocab_size(), reference.name(), reference.vocab_size());
}

std::vector<DriftBucket> drift_buckets(std::int64_t tokens) {
  std::vector<DriftBucket> buckets;
  const std::int64_t count = std::min(kDriftBuckets, tokens);
  for (std::int64_t i = 0; i < count; ++i) {
    buckets.push_back({i * tokens / count, (i + 1) * tokens / count, {}});
  }
  return buckets;
}

}  // namespace

RowDivergence compare_rows(std::span<const float> reference, std::span<const float> logits, TokenId next) {
  const Normalizer p(reference), q(logits);
  const auto target = static_cast<std::size_t>(next);
  RowDivergence row;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    const double a = reference[i], b = logits[i];
    row.kl += std::exp(a - p.shift) * ((a - p.shift) - (b - q.shift));
    row.error += (b - a) * (b - a);
    row.norm += a * a;
  }
  row.kl = row.kl / p.sum - p.log_sum + q.log_sum;
  if (row.kl < 0) row.kl = 0;  // rounding may leave a little less than nothing; NaN stays
  row.nll = -q.log_probability(logits[target]);
  row.reference_nll = -p.log_probability(reference[target]);
  row.same_top = p.top == q.top;
  return row;
}

void Divergence::add(const RowDivergence& row) {
  kl.push_back(row.kl);
  nll.add(row.nll);
  reference_nll.add(row.reference_nll);
  nll_difference.add(row.nll - row.reference_nll);
  same_top.add(row.same_top ? 1 : 0);
  error += row.error;
  norm += row.norm;
}

double Divergence::mean_kl() const {
  Mean mean;
  for (const double value : kl) mean.add(value);
  return mean.value();
}

double Divergence::logits_error() const {
  return std::sqrt(error / norm);
}

std::int64_t tokens_needed(const DivergenceOptions& options) {
  constexpr auto kAll = std::numeric_limits<std::int64_t>::max();
  if (options.max_windows < 0 || options.max_windows > kAll / options.window - 1) return kAll;
  return std::max(options.window * options.max_windows, options.drift_tokens) + 1;
}

Comparison compare(const Model& model, const Model& reference, std::span<const TokenId> ids,
                   const DivergenceOptions& options, const CompareProgress& progress) {
  check(options);
  check_vocabularies(model, reference);
  check_ids(ids, options);
  Comparison result;
  result.window_count = (std::ssize(ids) - 1) / options.window;
  if (options.max_windows > 0) result.window_count = std::min(result.window_count, options.max_windows);
  result.drift = drift_buckets(options.drift_tokens);

  Comparing both(model, reference);
  const std::int64_t total = result.window_count * options.window + options.drift_tokens;
  const auto start = std::chrono::steady_clock::now();
  std::int64_t done = 0;
  const auto report = [&](std::int64_t tokens) {
    done += tokens;
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (progress) progress(done, total, result.seconds);
  };
  const auto part = [&](std::int64_t first, std::int64_t tokens) {
    return ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(tokens) + 1);
  };

  for (std::int64_t i = 0; i < result.window_count; ++i) {
    both.restart();
    both.run(part(i * options.window, options.window), &Reader::prefill,
             [&](const RowDivergence& row) { result.windows.add(row); });
    report(options.window);
  }
  both.restart();
  for (DriftBucket& bucket : result.drift) {
    for (std::int64_t at = bucket.first; at < bucket.last; at += kRows) {
      const std::int64_t tokens = std::min(kRows, bucket.last - at);
      both.run(part(at, tokens), &Reader::step,
               [&](const RowDivergence& row) { bucket.divergence.add(row); });
      report(tokens);
    }
  }
  return result;
}

}  // namespace mamba3
