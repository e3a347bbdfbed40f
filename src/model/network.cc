#include "model/network.h"

#include <algorithm>

#include "core/error.h"
#include "mixers/mamba3/mamba3.h"
#include "model/runner.h"

namespace mamba3 {

struct Network::Impl {
  Checkpoint checkpoint;
  Device device;
  std::unique_ptr<Runner> runner;

  void check_ids(std::span<const TokenId> ids) const {
    const std::int64_t vocab = checkpoint.config.vocab_rows();
    for (const TokenId id : ids) {
      if (id < 0 || id >= vocab) {
        fail(ErrorCode::invalid_argument, "{}: token id {} is outside the vocabulary of {}", checkpoint.name,
             id, vocab);
      }
    }
  }
};

std::int64_t NetworkState::rewindable() const {
  std::int64_t tokens = position;
  for (const LayerState& layer : layers) tokens = std::min(tokens, layer.tail);
  return tokens;
}

NetworkState zero_host_state(const ModelConfig& config) {
  NetworkState state;
  for (std::int64_t i = 0; i < config.n_layer; ++i) state.layers.push_back(mamba3_zero_state(config.mixer));
  // A tail is shorter than a chunk, and the token before it counts too.
  state.hidden.assign(static_cast<std::size_t>(mamba3_chunk(config.mixer)),
                      std::vector<float>(static_cast<std::size_t>(config.d_model)));
  return state;
}

Network::Network(Checkpoint checkpoint, const NetworkOptions& options) : impl_(std::make_unique<Impl>()) {
  impl_->checkpoint = std::move(checkpoint);
  impl_->device = options.device;
  impl_->runner = options.device == Device::cuda ? make_cuda_runner(impl_->checkpoint, options)
                                                 : make_cpu_runner(impl_->checkpoint, options);
}

Network::~Network() = default;

const Checkpoint& Network::checkpoint() const {
  return impl_->checkpoint;
}

Device Network::device() const {
  return impl_->device;
}

NetworkState Network::zero_state() const {
  return impl_->runner->zero_state();
}

std::int64_t Network::state_bytes() const {
  const NetworkState state = zero_host_state(config());
  std::size_t floats = state.hidden.size() * state.hidden.front().size();
  for (const LayerState& layer : state.layers) floats += layer.values.size();
  return static_cast<std::int64_t>(floats * sizeof(float));
}

void Network::prefill(Arena& arena, std::span<const TokenId> ids, NetworkState& state, float* last_hidden,
                      const PrefillVisitors& visitors) const {
  impl_->check_ids(ids);
  impl_->runner->prefill(arena, ids, state, visitors);
  std::copy_n(state.hidden_of(state.position - 1), config().d_model, last_hidden);
}

void Network::step(Arena& arena, std::span<const TokenId> ids, std::span<NetworkState* const> states,
                   float* hidden) const {
  impl_->check_ids(ids);
  impl_->runner->step(arena, ids, states, hidden);
}

void Network::prefill_all(Arena& arena, std::span<const Prompt> prompts) const {
  for (const Prompt& prompt : prompts) impl_->check_ids(prompt.ids);
  impl_->runner->prefill_all(arena, prompts);
}

void Network::greedy(Arena& arena, std::span<TokenId> ids, std::span<NetworkState* const> states,
                     std::int64_t steps) const {
  impl_->check_ids(ids);
  impl_->runner->greedy(arena, ids, states, steps);
}

bool Network::draws(const SamplerOptions& options) const {
  return impl_->runner->draws(options);
}

void Network::draw(Arena& arena, std::span<const TokenId> ids, std::span<NetworkState* const> states,
                   std::span<Sampler* const> samplers, std::int64_t words, std::span<TokenId> drawn) const {
  impl_->check_ids(ids);
  impl_->runner->draw(arena, ids, states, samplers, words, drawn);
}

bool Runner::draws(const SamplerOptions&) const {
  return false;
}

void Runner::draw(Arena&, std::span<const TokenId>, std::span<NetworkState* const>, std::span<Sampler* const>,
                  std::int64_t, std::span<TokenId>) const {
  fail(ErrorCode::internal, "this device does not draw tokens");
}

void Runner::prefill_all(Arena& arena, std::span<const Prompt> prompts) const {
  for (const Prompt& prompt : prompts) prefill(arena, prompt.ids, *prompt.state, {});
}

void Runner::greedy(Arena& arena, std::span<TokenId> ids, std::span<NetworkState* const> states,
                    std::int64_t steps) const {
  const Arena::Scope scope(arena);
  const std::int64_t batch = std::ssize(ids);
  const auto vocab = head().rows;
  auto* hidden = arena.take<float>(batch * head().cols);
  auto* found = arena.take<float>(batch * vocab);
  for (std::int64_t i = 0; i < steps; ++i) {
    step(arena, ids, states, hidden);
    logits(arena, hidden, batch, found);
    for (std::int64_t b = 0; b < batch; ++b) {
      const float* row = found + b * vocab;
      ids[static_cast<std::size_t>(b)] = static_cast<TokenId>(std::max_element(row, row + vocab) - row);
    }
  }
}

void Network::rewind(Arena& arena, NetworkState& state, std::int64_t tokens) const {
  impl_->runner->rewind(arena, state, tokens);
}

NetworkState Network::on_host(const NetworkState& state) const {
  return impl_->runner->on_host(state);
}

NetworkState Network::from_host(NetworkState state) const {
  return impl_->runner->from_host(std::move(state));
}

const PackedMatrix& Network::head() const {
  return impl_->runner->head();
}

void Network::logits(Arena& arena, const float* hidden, std::int64_t rows, float* logits) const {
  impl_->runner->logits(arena, hidden, rows, logits);
}

void Network::nll(Arena& arena, const RowWindow& window, const float* hidden,
                  std::span<const TokenId> targets, double* nll) const {
  impl_->check_ids(targets);
  impl_->runner->nll(arena, hidden + window.begin * config().d_model, targets, nll);
}

}  // namespace mamba3
