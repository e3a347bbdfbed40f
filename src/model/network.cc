#include "model/network.h"

#include <algorithm>
#include <cstdint>
#include <memory>

#include "core/error.h"
#include "core/threads.h"
#include "ffn/swiglu/mlp.h"
#include "mixers/mamba3/mamba3.h"
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

}  // namespace

struct Network::Impl {
  Checkpoint checkpoint;
  Device device;
  std::unique_ptr<Weights> weights;
  PackedMatrix embedding;
  std::vector<Layer> layers;
  NormWeights norm_f;
  PackedMatrix head;

  bool has_mlp() const { return checkpoint.config.d_intermediate > 0; }

  void check_ids(std::span<const TokenId> ids) const {
    for (const TokenId id : ids) {
      if (id < 0 || id >= embedding.rows) {
        fail(ErrorCode::invalid_argument, "{}: token id {} is outside the vocabulary of {}", checkpoint.name,
             id, embedding.rows);
      }
    }
  }

  // norm over the window's tokens, shared by the threads in pieces of `grain` rows or more.
  void norm_rows(const NormWeights& by, const RowWindow& window, const float* x, float* out,
                 std::int64_t grain = 1) const {
    const auto work = [&](std::int64_t first, std::int64_t last) {
      const std::int64_t at = (window.begin + first) * by.width;
      norm(device, by, x + at, last - first, out + at);
    };
    parallel_ranges(window.tokens(), work, grain);
  }

  void forward_layer(const Exec& exec, const Layer& layer, const RowWindow& window, float* residual,
                     LayerState& state) const {
    const Arena::Scope scope(*exec.arena);
    const std::int64_t D = checkpoint.config.d_model, at = window.begin * D, n = window.tokens() * D;
    auto* normed = exec.arena->take<float>(window.rows * D);
    auto* out = exec.arena->take<float>(window.rows * D);
    norm_rows(layer.norm, window, residual, normed);
    mamba3_forward(exec, checkpoint.config.mixer, layer.mixer, window, normed, out, state);
    add(residual + at, out + at, n);
    if (!has_mlp()) return;
    norm_rows(layer.norm2, window, residual, normed);
    mlp_forward(exec, layer.mlp, normed + at, window.tokens(), out + at);
    add(residual + at, out + at, n);
  }
};

Network::Network(Checkpoint checkpoint, const NetworkOptions& options) : impl_(std::make_unique<Impl>()) {
  Impl& net = *impl_;
  net.checkpoint = std::move(checkpoint);
  net.device = options.device;
  net.weights = std::make_unique<Weights>(net.checkpoint, options.exact);
  Weights& weights = *net.weights;
  const std::int64_t D = config().d_model;
  net.embedding = weights.matrix("embedding");
  for (std::int64_t i = 0; i < config().n_layer; ++i) {
    const std::string name = fmt::format("layers.{}.", i);
    Layer& layer = net.layers.emplace_back();
    layer.norm = norm_weights(weights, name + "norm", D);
    layer.mixer = mixer_weights(weights, name);
    if (net.has_mlp()) {
      layer.norm2 = norm_weights(weights, name + "norm2", D);
      layer.mlp = {weights.matrix(name + "mlp.up"), weights.matrix(name + "mlp.gate"),
                   weights.matrix(name + "mlp.down")};
    }
  }
  net.norm_f = norm_weights(weights, "norm_f", D);
  net.head = config().tie_embeddings ? net.embedding : weights.matrix("head");
}

Network::~Network() = default;

const Checkpoint& Network::checkpoint() const {
  return impl_->checkpoint;
}

NetworkState Network::zero_state() const {
  NetworkState state;
  for (std::int64_t i = 0; i < config().n_layer; ++i)
    state.layers.push_back(mamba3_zero_state(config().mixer));
  // A tail is shorter than a chunk, and the token before it counts too.
  state.hidden.assign(static_cast<std::size_t>(mamba3_chunk(config().mixer)),
                      std::vector<float>(static_cast<std::size_t>(config().d_model)));
  return state;
}

std::int64_t Network::state_bytes() const {
  const NetworkState state = zero_state();
  std::size_t floats = state.hidden.size() * state.hidden.front().size();
  for (const LayerState& layer : state.layers) floats += layer.values.size();
  return static_cast<std::int64_t>(floats * sizeof(float));
}

void Network::prefill(Arena& arena, std::span<const TokenId> ids, NetworkState& state, float* last_hidden,
                      const HiddenVisitor& on_hidden, const ResidualVisitor& on_residual,
                      LinearObserver* observer) const {
  const Impl& net = *impl_;
  net.check_ids(ids);
  const Exec exec{net.device, &arena, observer};
  const std::int64_t D = config().d_model;
  while (!ids.empty()) {
    const Arena::Scope scope(arena);
    const std::int64_t room = kWindowRows - state.position % kBlockRows;
    const auto now = ids.first(static_cast<std::size_t>(std::min<std::int64_t>(room, std::ssize(ids))));
    ids = ids.subspan(now.size());
    const RowWindow window = RowWindow::of(state.position, std::ssize(now));
    auto* residual = arena.take<float>(window.rows * D);
    embedding(net.device, net.embedding, now, residual + window.begin * D);
    if (on_residual) on_residual(0, window, residual);
    for (std::size_t i = 0; i < net.layers.size(); ++i) {
      net.forward_layer(exec, net.layers[i], window, residual, state.layers[i]);
      if (on_residual) on_residual(static_cast<std::int64_t>(i) + 1, window, residual);
    }
    state.position += window.tokens();
    const std::int64_t kept = std::min(window.tokens(), rewindable(state) + 1);
    for (std::int64_t row = window.end - kept; row < window.end; ++row) {
      norm(net.device, net.norm_f, residual + row * D, 1, state.hidden_of(window.position + row));
    }
    if (on_hidden) {
      auto* hidden = arena.take<float>(window.rows * D);
      net.norm_rows(net.norm_f, window, residual, hidden);
      on_hidden(window, hidden);
    }
    if (ids.empty()) std::copy_n(state.hidden_of(state.position - 1), D, last_hidden);
  }
}

void Network::step(Arena& arena, std::span<const TokenId> ids, std::span<NetworkState* const> states,
                   float* hidden) const {
  const Impl& net = *impl_;
  net.check_ids(ids);
  const Arena::Scope scope(arena);
  const Exec exec{net.device, &arena};
  const std::int64_t batch = std::ssize(ids), D = config().d_model;
  const RowWindow rows{.position = 0, .rows = batch, .begin = 0, .end = batch};
  auto* residual = arena.take<float>(batch * D);
  auto* normed = arena.take<float>(batch * D);
  auto* out = arena.take<float>(batch * D);
  auto* places = arena.take<Mamba3Place>(batch);
  embedding(net.device, net.embedding, ids, residual);
  for (std::size_t i = 0; i < net.layers.size(); ++i) {
    const Layer& layer = net.layers[i];
    for (std::int64_t b = 0; b < batch; ++b) places[b] = {&states[b]->layers[i], states[b]->position};
    net.norm_rows(layer.norm, rows, residual, normed, kRowsWorthSharing);
    mamba3_step(exec, config().mixer, layer.mixer, normed, out, {places, static_cast<std::size_t>(batch)});
    add(residual, out, batch * D);
    if (!net.has_mlp()) continue;
    net.norm_rows(layer.norm2, rows, residual, normed, kRowsWorthSharing);
    mlp_forward(exec, layer.mlp, normed, batch, out);
    add(residual, out, batch * D);
  }
  norm(net.device, net.norm_f, residual, batch, hidden);
  for (std::int64_t b = 0; b < batch; ++b) {
    std::copy_n(hidden + b * D, D, states[b]->hidden_of(states[b]->position));
    ++states[b]->position;
  }
}

std::int64_t Network::rewindable(const NetworkState& state) const {
  std::int64_t tokens = state.position;
  for (const LayerState& layer : state.layers) tokens = std::min(tokens, layer.tail);
  return tokens;
}

void Network::rewind(Arena& arena, NetworkState& state, std::int64_t tokens) const {
  const Exec exec{impl_->device, &arena};
  for (LayerState& layer : state.layers) mamba3_rewind(exec, config().mixer, layer, tokens);
  state.position -= tokens;
}

const PackedMatrix& Network::head() const {
  return impl_->head;
}

void Network::logits(Arena& arena, const float* hidden, std::int64_t rows, float* logits) const {
  linear({impl_->device, &arena}, impl_->head, hidden, rows, logits);
}

void Network::nll(Arena& arena, const RowWindow& window, const float* hidden,
                  std::span<const TokenId> targets, double* nll) const {
  impl_->check_ids(targets);
  cross_entropy({impl_->device, &arena}, impl_->head, hidden + window.begin * config().d_model, targets, nll);
}

}  // namespace mamba3
