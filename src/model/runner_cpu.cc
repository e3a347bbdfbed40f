// The network in host memory: operation after operation, each of the rooms below.
#include <algorithm>
#include <cstdint>
#include <memory>

#include <fmt/format.h>

#include "core/threads.h"
#include "ffn/swiglu/mlp.h"
#include "mixers/mamba3/mamba3.h"
#include "model/runner.h"
#include "model/weights.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/embedding/embedding.h"
#include "ops/norm/norm.h"

namespace mamba3 {
namespace {

// Rows of one window of a prefill: two blocks of the products (ops/linear), so that each weight is read once
// for 128 rows or more, while its activations stay small beside the weights: 512 rows read no faster and took
// 10 MB more.
constexpr std::int64_t kWindowRows = 256;

// Rows of a batch whose norms are worth another thread: some microseconds of work.
constexpr std::int64_t kRowsWorthSharing = 16;

struct Layer {
  NormWeights norm;
  Mamba3Weights mixer;
  NormWeights norm2;
  MlpWeights mlp;
};

NormWeights norm_weights(Weights& weights, const std::string& name, std::int64_t width) {
  return {weights.vector(name + ".weight"), weights.vector_or_null(name + ".bias"), width};
}

Mamba3Weights mixer_weights(Weights& weights, const std::string& layer) {
  const auto vector = [&](const char* name) { return weights.vector_or_null(layer + "mixer." + name); };
  return {.in_proj = weights.matrix(layer + "mixer.in_proj"),
          .dynamics = weights.matrix(layer + "mixer.dynamics"),
          .out_proj = weights.matrix(layer + "mixer.out_proj"),
          .dt_bias = vector("dt_bias"),
          .B_bias = vector("B_bias"),
          .C_bias = vector("C_bias"),
          .B_norm = vector("B_norm"),
          .C_norm = vector("C_norm"),
          .D = vector("D"),
          .mimo_x = vector("mimo_x"),
          .mimo_z = vector("mimo_z"),
          .mimo_o = vector("mimo_o"),
          .norm = vector("norm")};
}

// Additions that are worth a thread: 2 microseconds at 4 a nanosecond.
constexpr std::int64_t kAdditions = 8192;

void add(float* sum, const float* term, std::int64_t n) {
  parallel_ranges(
      n,
      [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t i = first; i < last; ++i) sum[i] += term[i];
      },
      kAdditions);
}

// norm over the window's tokens, shared by the threads in pieces of `grain` rows or more.
void norm_rows(const NormWeights& by, const RowWindow& window, const float* x, float* out,
               std::int64_t grain = 1) {
  const auto work = [&](std::int64_t first, std::int64_t last) {
    const std::int64_t at = (window.begin + first) * by.width;
    norm(Device::cpu, by, x + at, last - first, out + at);
  };
  parallel_ranges(window.tokens(), work, grain);
}

class CpuRunner : public Runner {
 public:
  CpuRunner(const Checkpoint& checkpoint, const NetworkOptions& options)
      : config_(checkpoint.config), weights_(checkpoint, options.exact) {
    const std::int64_t D = config_.d_model;
    embedding_ = weights_.matrix("embedding");
    for (std::int64_t i = 0; i < config_.n_layer; ++i) {
      const std::string name = fmt::format("layers.{}.", i);
      Layer& layer = layers_.emplace_back();
      layer.norm = norm_weights(weights_, name + "norm", D);
      layer.mixer = mixer_weights(weights_, name);
      if (!config_.has_mlp()) continue;
      layer.norm2 = norm_weights(weights_, name + "norm2", D);
      layer.mlp = {weights_.matrix(name + "mlp.up"), weights_.matrix(name + "mlp.gate"),
                   weights_.matrix(name + "mlp.down")};
    }
    norm_f_ = norm_weights(weights_, "norm_f", D);
    head_ = config_.tie_embeddings ? embedding_ : weights_.matrix("head");
  }

  NetworkState zero_state() const override { return zero_host_state(config_); }

  void prefill(Arena& arena, std::span<const TokenId> ids, NetworkState& state,
               const PrefillVisitors& visitors) const override {
    while (!ids.empty()) {
      const std::int64_t room = kWindowRows - state.position % kBlockRows;
      const auto now = ids.first(static_cast<std::size_t>(std::min<std::int64_t>(room, std::ssize(ids))));
      ids = ids.subspan(now.size());
      prefill_window(arena, now, state, visitors);
    }
  }

  void step(Arena& arena, std::span<const TokenId> ids, std::span<NetworkState* const> states,
            float* hidden) const override {
    const Arena::Scope scope(arena);
    const Exec exec{Device::cpu, &arena};
    const std::int64_t batch = std::ssize(ids), D = config_.d_model;
    const RowWindow rows{.position = 0, .rows = batch, .begin = 0, .end = batch};
    auto* residual = arena.take<float>(batch * D);
    auto* normed = arena.take<float>(batch * D);
    auto* out = arena.take<float>(batch * D);
    auto* places = arena.take<Mamba3Place>(batch);
    embedding(Device::cpu, embedding_, ids, residual);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      for (std::int64_t b = 0; b < batch; ++b) places[b] = {&states[b]->layers[i], states[b]->position};
      norm_rows(layer.norm, rows, residual, normed, kRowsWorthSharing);
      mamba3_step(exec, config_.mixer, layer.mixer, normed, out, {places, static_cast<std::size_t>(batch)});
      add(residual, out, batch * D);
      if (!config_.has_mlp()) continue;
      norm_rows(layer.norm2, rows, residual, normed, kRowsWorthSharing);
      mlp_forward(exec, layer.mlp, normed, batch, out);
      add(residual, out, batch * D);
    }
    norm(Device::cpu, norm_f_, residual, batch, hidden);
    for (std::int64_t b = 0; b < batch; ++b) {
      std::copy_n(hidden + b * D, D, states[b]->hidden_of(states[b]->position));
      ++states[b]->position;
    }
  }

  void rewind(Arena& arena, NetworkState& state, std::int64_t tokens) const override {
    for (LayerState& layer : state.layers) mamba3_rewind({Device::cpu, &arena}, config_.mixer, layer, tokens);
    state.position -= tokens;
  }

  void logits(Arena& arena, const float* hidden, std::int64_t rows, float* logits) const override {
    linear({Device::cpu, &arena}, head_, hidden, rows, logits);
  }

  void nll(Arena& arena, const float* hidden, std::span<const TokenId> targets, double* nll) const override {
    cross_entropy({Device::cpu, &arena}, head_, hidden, targets, nll);
  }

  NetworkState on_host(const NetworkState& state) const override { return state; }
  NetworkState from_host(NetworkState state) const override { return state; }
  const PackedMatrix& head() const override { return head_; }

 private:
  void prefill_window(Arena& arena, std::span<const TokenId> ids, NetworkState& state,
                      const PrefillVisitors& visitors) const {
    const Arena::Scope scope(arena);
    const Exec exec{Device::cpu, &arena, visitors.observer};
    const std::int64_t D = config_.d_model;
    const RowWindow window = RowWindow::of(state.position, std::ssize(ids));
    auto* residual = arena.take<float>(window.rows * D);
    embedding(Device::cpu, embedding_, ids, residual + window.begin * D);
    if (visitors.on_residual) visitors.on_residual(0, window, residual);
    for (std::size_t i = 0; i < layers_.size(); ++i) {
      forward_layer(exec, layers_[i], window, residual, state.layers[i]);
      if (visitors.on_residual) visitors.on_residual(static_cast<std::int64_t>(i) + 1, window, residual);
    }
    state.position += window.tokens();
    const std::int64_t kept = std::min(window.tokens(), state.rewindable() + 1);
    for (std::int64_t row = window.end - kept; row < window.end; ++row) {
      norm(Device::cpu, norm_f_, residual + row * D, 1, state.hidden_of(window.position + row));
    }
    if (!visitors.on_hidden) return;
    auto* hidden = arena.take<float>(window.rows * D);
    norm_rows(norm_f_, window, residual, hidden);
    visitors.on_hidden(window, hidden);
  }

  void forward_layer(const Exec& exec, const Layer& layer, const RowWindow& window, float* residual,
                     LayerState& state) const {
    const Arena::Scope scope(*exec.arena);
    const std::int64_t D = config_.d_model, at = window.begin * D, n = window.tokens() * D;
    auto* normed = exec.arena->take<float>(window.rows * D);
    auto* out = exec.arena->take<float>(window.rows * D);
    norm_rows(layer.norm, window, residual, normed);
    mamba3_forward(exec, config_.mixer, layer.mixer, window, normed, out, state);
    add(residual + at, out + at, n);
    if (!config_.has_mlp()) return;
    norm_rows(layer.norm2, window, residual, normed);
    mlp_forward(exec, layer.mlp, normed + at, window.tokens(), out + at);
    add(residual + at, out + at, n);
  }

  const ModelConfig& config_;
  Weights weights_;
  PackedMatrix embedding_;
  std::vector<Layer> layers_;
  NormWeights norm_f_;
  PackedMatrix head_;
};

}  // namespace

std::unique_ptr<Runner> make_cpu_runner(const Checkpoint& checkpoint, const NetworkOptions& options) {
  return std::make_unique<CpuRunner>(checkpoint, options);
}

}  // namespace mamba3
