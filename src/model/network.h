// The model at work: embedding, layers, norm, head over a checkpoint's weights.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/arena.h"
#include "core/device.h"
#include "mamba3/sampler.h"
#include "mamba3/tokenizer.h"
#include "mixers/layer.h"
#include "model/checkpoint.h"
#include "model/device_state.h"
#include "ops/exec.h"

namespace mamba3 {

/// What a session carries: `position` tokens seen, one state a layer, and the hidden vectors that a rewound
/// session may need again. On a device other than the CPU the layers' values are in `device`, theirs are
/// empty.
struct NetworkState {
  std::int64_t position = 0;
  std::vector<LayerState> layers;
  std::vector<std::vector<float>> hidden;  ///< a ring: position p's in row p modulo the number of rows
  DeviceStateHolder device;

  /// How many of the last tokens can be undone: those of the layers' tails.
  std::int64_t rewindable() const;

  /// [d_model] after the final norm, of one of the last tokens.
  float* hidden_of(std::int64_t token) { return hidden[row_of(token)].data(); }
  const float* hidden_of(std::int64_t token) const { return hidden[row_of(token)].data(); }

 private:
  std::size_t row_of(std::int64_t token) const { return static_cast<std::size_t>(token) % hidden.size(); }
};

/// hidden [window.rows, d_model] after the final norm, valid in rows [begin, end).
using HiddenVisitor = std::function<void(const RowWindow& window, const float* hidden)>;
/// The residual stream [window.rows, d_model]: depth 0 is the embedding, depth i + 1 follows layer i.
using ResidualVisitor =
    std::function<void(std::int64_t depth, const RowWindow& window, const float* residual)>;

/// Who looks on while a text is read; `observer` on the CPU alone.
struct PrefillVisitors {
  HiddenVisitor on_hidden = {};
  ResidualVisitor on_residual = {};
  LinearObserver* observer = nullptr;
};

/// A text to read, and the session that reads it.
struct Prompt {
  std::span<const TokenId> ids;
  NetworkState* state;
};

struct NetworkOptions {
  Device device = Device::cpu;
  int device_index = 0;
  bool exact = false;  ///< activations enter every product as float32 (ops/linear/linear.h)
};

/// Immutable; many sessions and threads may share one, each with an Arena of its own.
class Network {
 public:
  explicit Network(Checkpoint checkpoint, const NetworkOptions& options = {});
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  const Checkpoint& checkpoint() const;
  Device device() const;
  const ModelConfig& config() const { return checkpoint().config; }

  NetworkState zero_state() const;
  std::int64_t state_bytes() const;  ///< of one session

  /// Reads `ids` (not empty) after what `state` has seen, in windows of a fixed largest size. last_hidden
  /// [d_model]: the last token's, after the final norm. Any division into calls gives the same bits.
  void prefill(Arena& arena, std::span<const TokenId> ids, NetworkState& state, float* last_hidden,
               const PrefillVisitors& visitors = {}) const;

  /// One token for each session (of one position each, no state twice); hidden [ids.size(), d_model] after
  /// the final norm. An id outside the vocabulary is refused before any state moves.
  void step(Arena& arena, std::span<const TokenId> ids, std::span<NetworkState* const> states,
            float* hidden) const;

  /// Reads several prompts (none empty, no state twice), at once where the device gains by it.
  void prefill_all(Arena& arena, std::span<const Prompt> prompts) const;

  /// Each session reads its id, then goes on with the likeliest token, `steps` >= 1 tokens in all; `ids`
  /// become the ones that would be next. A GPU does it all without the host.
  void greedy(Arena& arena, std::span<TokenId> ids, std::span<NetworkState* const> states,
              std::int64_t steps) const;

  /// Whether draw() takes a sampler of these options: on a GPU alone.
  bool draws(const SamplerOptions& options) const;

  /// step(), then drawn[i] is what samplers[i] chooses among the first `words` of the logits. Precondition:
  /// it draws() them all.
  void draw(Arena& arena, std::span<const TokenId> ids, std::span<NetworkState* const> states,
            std::span<Sampler* const> samplers, std::int64_t words, std::span<TokenId> drawn) const;

  /// Undoes the last `tokens` tokens, at most state.rewindable(): the state goes on as if it had not read
  /// them.
  void rewind(Arena& arena, NetworkState& state, std::int64_t tokens) const;

  /// The state in host memory, in the form that every device takes, and the way back.
  NetworkState on_host(const NetworkState& state) const;
  NetworkState from_host(NetworkState state) const;

  /// The head for the CPU's products. Throws Error(unsupported) on another device.
  const PackedMatrix& head() const;

  /// hidden [rows, d_model] to logits [rows, vocab_rows]; every row has bits of its own.
  void logits(Arena& arena, const float* hidden, std::int64_t rows, float* logits) const;

  /// Minus the log probability of `targets[i]` after row window.begin + i, in nats; never holds a whole
  /// [rows, vocab] matrix. nll [window.tokens()].
  void nll(Arena& arena, const RowWindow& window, const float* hidden, std::span<const TokenId> targets,
           double* nll) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A session's start, in host memory.
NetworkState zero_host_state(const ModelConfig& config);

}  // namespace mamba3
