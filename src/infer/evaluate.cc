#include "infer/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

#include "core/arena.h"
#include "core/error.h"
#include "core/utf8.h"
#include "infer/document_tokens.h"
#include "model/finite.h"
#include "model/network.h"

namespace mamba3 {
namespace {

/// Nats of ids[1..], each given the ones before it.
double window_nll(const Network& network, Arena& arena, std::span<const TokenId> ids) {
  const auto targets = ids.subspan(1);
  NetworkState state = network.zero_state();
  std::vector<float> last(static_cast<std::size_t>(network.config().d_model));
  std::vector<double> nll(targets.size());
  std::size_t done = 0;
  network.prefill(arena, ids.first(targets.size()), state, last.data(),
                  {.on_hidden = [&](const RowWindow& rows, const float* hidden) {
                    const auto count = static_cast<std::size_t>(rows.tokens());
                    network.nll(arena, rows, hidden, targets.subspan(done, count), nll.data() + done);
                    done += count;
                  }});
  return std::accumulate(nll.begin(), nll.end(), 0.0);
}

std::int64_t text_bytes(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  std::int64_t bytes = 0;
  for (const TokenId id : ids) {
    if (!tokenizer.is_special(id)) bytes += std::ssize(tokenizer.bytes_of(id));
  }
  return bytes;
}

void check(const EvaluateOptions& options) {
  constexpr std::int64_t kLongestWindow = std::int64_t{1} << 30;
  if (options.window < 1 || options.window > kLongestWindow) {
    fail(ErrorCode::invalid_argument, "the window is {} tokens, expected 1 to {}", options.window,
         kLongestWindow);
  }
  if (options.max_windows == 0) fail(ErrorCode::invalid_argument, "0 windows leave nothing to evaluate");
}

}  // namespace

double Evaluation::ppl() const {
  return std::exp(nll());
}

double Evaluation::bits_per_byte() const {
  return bytes > 0 ? total_nll / std::numbers::ln2 / static_cast<double>(bytes) : std::nan("");
}

double Evaluation::tokens_per_s() const {
  return seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
}

Evaluation evaluate(const Model& model, std::string_view text, const std::string& name,
                    const EvaluateOptions& options, const EvaluateProgress& progress) {
  check(options);
  check_utf8(text, name);
  const Tokenizer& tokenizer = model.tokenizer();
  DocumentTokens source(tokenizer, text);
  Arena arena;
  Evaluation result;
  const auto start = std::chrono::steady_clock::now();
  while (options.max_windows < 0 || result.windows < options.max_windows) {
    const auto ids = source.peek(options.window + 1);
    if (std::ssize(ids) <= options.window) {
      if (result.windows > 0) break;
      fail(ErrorCode::invalid_argument, "{}: the text has {} tokens, a window of {} needs at least {}", name,
           ids.size(), options.window, options.window + 1);
    }
    result.total_nll += window_nll(model.network(), arena, ids);
    if (!std::isfinite(result.total_nll)) {
      check_finite(model.network().checkpoint());
      fail(ErrorCode::numeric, "{}: the predictions in window {} are not finite numbers", model.name(),
           result.windows);
    }
    result.bytes += text_bytes(tokenizer, ids.subspan(1));
    result.tokens += options.window;
    ++result.windows;
    source.skip(options.window);
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (progress) {
      double windows = static_cast<double>(result.windows) +
                       std::floor(source.guess_remaining() / static_cast<double>(options.window));
      if (options.max_windows > 0) windows = std::min(windows, static_cast<double>(options.max_windows));
      progress(result, static_cast<double>(result.windows) / windows);
    }
  }
  return result;
}

}  // namespace mamba3
