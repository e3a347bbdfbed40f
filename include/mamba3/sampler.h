// Choosing the next token from logits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "mamba3/tokenizer.h"

namespace mamba3 {

/// Defaults are llama.cpp's. temperature 0 takes the most likely token and ignores the rest but the penalty.
struct SamplerOptions {
  float temperature = 0.8f;     ///< divides the logits; >= 0
  std::int64_t top_k = 40;      ///< keep the k most likely; 0: all
  float top_p = 0.95f;          ///< keep the fewest whose probabilities sum to p; 1: all
  float min_p = 0.05f;          ///< keep those at least min_p times as likely as the likeliest; 0: all
  float repeat_penalty = 1.0f;  ///< divides positive and multiplies negative logits of recent tokens; 1: none
  std::int64_t repeat_last = 64;  ///< how many recent tokens that counts
  std::uint64_t seed = 0;

  /// Throws Error(invalid_argument) naming the option that is out of range.
  void check() const;
};

/// The n-th draw depends on the seed and on n alone, so a resumed text goes on as if it had never stopped.
class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options);

  /// The next token. logits [vocab], of which only the first `words` are candidates (rows of padding have no
  /// text).
  TokenId sample(std::span<const float> logits, std::int64_t words);
  /// A token of the text, sampled or read: counts for the repeat penalty.
  void accept(TokenId id);

  /// What a resumed sampler needs besides its options.
  struct State {
    std::uint64_t draws = 0;
    std::vector<TokenId> recent;
  };
  const SamplerOptions& options() const { return options_; }
  const State& state() const { return state_; }
  void resume(State state) { state_ = std::move(state); }
  /// A token was drawn elsewhere, in the same way: the next draw is the one after it.
  void count_draw() { state_.draws += options_.temperature == 0 ? 0 : 1; }

 private:
  struct Candidate {
    TokenId id;
    float logit;
  };
  double uniform();

  SamplerOptions options_;
  State state_;
  std::vector<Candidate> candidates_;
};

}  // namespace mamba3
