#include "infer/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/error.h"
#include "mamba3/session.h"
#include "model/network.h"
#include "model/reference_model.h"

namespace mamba3 {
namespace {

using Clock = std::chrono::steady_clock;

/// Made-up tokens, spread over the vocabulary.
std::vector<TokenId> some_tokens(const Model& model, std::int64_t count) {
  constexpr std::uint64_t kStride = 0x9e3779b97f4a7c15;  // golden ratio: neighbours lie far apart
  std::vector<TokenId> ids;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint64_t number = (static_cast<std::uint64_t>(i) + 1) * kStride >> 32;
    ids.push_back(static_cast<TokenId>(number % static_cast<std::uint64_t>(model.vocab_size())));
  }
  return ids;
}

double relative_error(std::span<const float> found, const std::vector<float>& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += (double{found[i]} - expected[i]) * (double{found[i]} - expected[i]);
    norm += double{expected[i]} * expected[i];
  }
  return std::sqrt(difference / norm);
}

std::int64_t tokens_to_check(const Model& model) {
  std::int64_t parameters = 0;
  for (const auto& [name, tensor] : model.network().checkpoint().tensors) parameters += tensor.elements();
  return parameters < 50'000'000 ? 32 : parameters < 500'000'000 ? 16 : 4;
}

std::vector<float> reference_logits(const Model& model, std::span<const TokenId> ids) {
  const reference::Model<float> reference(model.network().checkpoint());
  auto state = reference.zero_state();
  const auto hidden = reference.hidden(ids, state);
  const reference::Values<float> last(hidden.end() - model.network().config().d_model, hidden.end());
  const auto logits = reference.logits(last);
  return {logits.begin(), logits.end()};
}

template <typename Work>
double rate(std::int64_t tokens, const Work& work) {
  const auto start = Clock::now();
  work();
  return static_cast<double>(tokens) / std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

bool Agreement::holds() const {
  return prefill_error <= kAllowedLogitsError && step_error <= kAllowedLogitsError;
}

Agreement agreement_with_reference(const Model& model) {
  Agreement result{.tokens = tokens_to_check(model)};
  const auto ids = some_tokens(model, result.tokens);
  const auto expected = reference_logits(model, ids);
  Session read(model), stepped(model);
  read.prefill(ids);
  for (const TokenId id : ids) stepped.step(id);
  result.prefill_error = relative_error(read.logits(), expected);
  result.step_error = relative_error(stepped.logits(), expected);
  return result;
}

void MeasureOptions::check() const {
  constexpr std::int64_t kMost = 1'000'000'000;
  const auto in_range = [&](const char* what, std::int64_t value) {
    if (value < 1 || value > kMost) {
      fail(ErrorCode::invalid_argument, "{} is {}, expected 1 to {}", what, value, kMost);
    }
  };
  in_range("the number of prompt tokens", prompt_tokens);
  in_range("the number of decoded tokens", decode_tokens);
  in_range("the number of repeats", repeats);
}

Spread spread_of(std::vector<double> values) {
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {values.front(), median, values.back()};
}

Rates measure(const Model& model, const MeasureOptions& options,
              const std::function<void(std::string_view)>& progress) {
  options.check();
  const auto prompt = some_tokens(model, options.prompt_tokens);
  const auto words = some_tokens(model, options.decode_tokens);
  Rates rates;
  for (std::int64_t round = 0; round <= options.repeats; ++round) {
    if (progress) progress(round == 0 ? "warming up" : fmt::format("round {} of {}", round, options.repeats));
    Session session(model);
    const double prefill = rate(options.prompt_tokens, [&] {
      session.prefill(prompt);
      session.logits();
    });
    const double decode = rate(options.decode_tokens, [&] {
      for (const TokenId id : words) {
        session.step(id);
        session.logits();
      }
    });
    if (round == 0) continue;
    rates.prefill.push_back(prefill);
    rates.decode.push_back(decode);
  }
  return rates;
}

}  // namespace mamba3
