#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "bench/bench.h"
#include "infer/agreement.h"
#include "mixers/mamba3/mamba3.h"
#include "model/network.h"

namespace mamba3::bench {
namespace {

// Float32 sums in other orders, over all layers (docs/numerics.md).
constexpr double kExactError = 1e-4;

// The logits that a network gives after two prompts and some steps, over a write-back of the tail.
std::vector<float> some_logits(const Network& network, const std::vector<TokenId>& ids) {
  constexpr std::int64_t kPrompts = 2, kSteps = 10;
  const std::int64_t D = network.config().d_model, V = network.config().vocab_rows();
  const std::int64_t prompt = (std::ssize(ids) - kPrompts * kSteps) / kPrompts;
  Arena arena;
  std::vector<NetworkState> states(kPrompts, network.zero_state());
  std::vector<NetworkState*> all = {&states[0], &states[1]};
  const std::span<const TokenId> text(ids);
  const std::vector<Prompt> prompts = {{text.first(prompt), all[0]}, {text.subspan(prompt, prompt), all[1]}};
  network.prefill_all(arena, prompts);
  std::vector<float> hidden(2 * kPrompts * D), logits(2 * kPrompts * V);
  for (std::int64_t i = 0; i < kPrompts; ++i)
    std::copy_n(states[i].hidden_of(states[i].position - 1), D, &hidden[i * D]);
  for (std::int64_t i = 0; i < kSteps; ++i)
    network.step(arena, text.subspan(kPrompts * (prompt + i), kPrompts), all, &hidden[kPrompts * D]);
  network.logits(arena, hidden.data(), 2 * kPrompts, logits.data());
  return logits;
}

}  // namespace

const Workshop::Made& Workshop::model(const std::string& shape, DType type) {
  const std::string name = fmt::format("{} {}", shape, name_of(type));
  if (kept_name_ == name) return *kept_;
  kept_.reset();
  say("making " + name);
  const Checkpoint checkpoint = random_checkpoint(shape, 1, type);
  const Model model(
      std::make_shared<const Network>(checkpoint, NetworkOptions{.device = Device::cuda, .exact = exact_}));
  say("checking " + name);
  const auto ids = made_up_tokens(model, 0, 2 * (100 + 10));
  const Network reference(checkpoint, {.exact = true});
  const double error = relative_error(some_logits(model.network(), ids), some_logits(reference, ids));
  kept_ = std::make_unique<Made>(Made{model, {error, exact_ ? kExactError : allowed_logits_error(model)}});
  kept_name_ = name;
  return *kept_;
}

void Workshop::say(const std::string& what) const {
  fmt::print(stderr, "gpu_bench: {}\n", what);
}

}  // namespace mamba3::bench
