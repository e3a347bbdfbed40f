#include "mamba3/sampler.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/splitmix.h"

namespace mamba3 {
namespace {

void check_range(const char* name, double value, double least, double most) {
  if (!(value >= least && value <= most)) {
    fail(ErrorCode::invalid_argument, "{} is {}, expected {} to {}", name, value, least, most);
  }
}

}  // namespace

void SamplerOptions::check() const {
  check_range("temperature", temperature, 0, 1e6);
  check_range("top_k", static_cast<double>(top_k), 0, 1e9);
  check_range("top_p", top_p, 0, 1);
  check_range("min_p", min_p, 0, 1);
  check_range("repeat_penalty", repeat_penalty, 1e-3, 1e3);
  check_range("repeat_last", static_cast<double>(repeat_last), 0, 1e9);
}

Sampler::Sampler(const SamplerOptions& options) : options_(options) {
  options_.check();
}

double Sampler::uniform() {
  return random_uniform(options_.seed, state_.draws++);
}

void Sampler::accept(TokenId id) {
  state_.recent.push_back(id);
  const auto most = static_cast<std::size_t>(options_.repeat_last);
  if (state_.recent.size() > most) state_.recent.erase(state_.recent.begin());
}

TokenId Sampler::sample(std::span<const float> logits, std::int64_t words) {
  const auto count = std::min(static_cast<std::size_t>(std::max<std::int64_t>(words, 1)), logits.size());
  candidates_.resize(count);
  for (std::size_t i = 0; i < count; ++i) candidates_[i] = {static_cast<TokenId>(i), logits[i]};
  if (options_.repeat_penalty != 1.0f) {
    std::vector<TokenId> seen = state_.recent;
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const TokenId id : seen) {
      if (static_cast<std::size_t>(id) >= count) continue;
      float& logit = candidates_[id].logit;
      logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
    }
  }
  // Equal logits: the smaller id first, so that the order never depends on the sorting algorithm.
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  };
  if (options_.temperature == 0) return std::ranges::min_element(candidates_, likelier)->id;

  const std::size_t keep =
      options_.top_k == 0 ? count : std::min(count, static_cast<std::size_t>(options_.top_k));
  std::ranges::partial_sort(candidates_, candidates_.begin() + static_cast<std::ptrdiff_t>(keep), likelier);
  candidates_.resize(keep);
  const float top = candidates_.front().logit;
  double total = 0;
  for (const Candidate& c : candidates_) total += std::exp(static_cast<double>(c.logit) - top);

  // In llama.cpp's order: top_p and min_p judge the model's own probabilities, then temperature bends what is
  // left.
  double sum = 0;
  std::size_t kept = 0;
  for (const Candidate& c : candidates_) {
    const double relative = std::exp(static_cast<double>(c.logit) - top);
    if (kept > 0 && (sum >= options_.top_p * total || relative < options_.min_p)) break;
    sum += relative;
    ++kept;
  }
  candidates_.resize(kept);
  double bent = 0;
  const auto weight = [&](const Candidate& c) {
    return std::exp((static_cast<double>(c.logit) - top) / options_.temperature);
  };
  for (const Candidate& c : candidates_) bent += weight(c);
  double rest = uniform() * bent;
  for (const Candidate& c : candidates_) {
    rest -= weight(c);
    if (rest < 0) return c.id;
  }
  return candidates_.back().id;
}

}  // namespace mamba3
