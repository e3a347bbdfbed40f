#include "model/cuda/decode_cuda.h"

#include <algorithm>

#include "mixers/mamba3/cuda/step_cuda.h"
#include "ops/embedding/embedding_cuda.h"

namespace mamba3::cuda {

Graph::Graph(cudaStream_t stream, const std::function<void()>& work) {
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing a step");
  work();
  check(cudaStreamEndCapture(stream, &graph), "capturing a step");
  const cudaError_t status = cudaGraphInstantiate(&graph_, graph, 0);
  cudaGraphDestroy(graph);
  check(status, "instantiating a step's graph");
}
Graph::~Graph() {
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
}
void Graph::launch(cudaStream_t stream) const {
  check(cudaGraphLaunch(graph_, stream), "launching a step's graph");
}

template <typename T>
Decoder<T>::Decoder(const NetworkLayers& network, Products& products, std::int64_t batch, cudaStream_t stream)
    : network_(network),
      chain_(network, products),
      batch_(batch),
      stream_(stream),
      table_(batch, batch),
      residual_(batch * network.config().d_model),
      hidden_(batch * network.config().d_model),
      logits_(batch * network.head().rows),
      history_(network.layout().fold_every() * batch * network.config().d_model),
      slots_(batch),
      sample_scratch_(static_cast<std::int64_t>(sample_scratch(batch, network.head().rows))) {
  recent_ = Buffer<std::int32_t>(batch * kMostRecent);
  words_ = network.head().rows;
  send_samplers({});
  check(cudaMemsetAsync(sample_scratch_.data(), 0, static_cast<std::size_t>(sample_scratch_.size()), stream),
        "clearing the sampler's memory");
  chain_.prepare(batch);
  warm_up();
  read_ = Graph(stream, [this] { enqueue(/*draws=*/false); });
}

template <typename T>
bool Decoder<T>::draws(const SamplerOptions& options) {
  return options.repeat_penalty == 1 || options.repeat_last <= kMostRecent;
}

// The graph knows how many candidates there are.
template <typename T>
void Decoder<T>::choose_words(std::int64_t words) {
  words = std::clamp<std::int64_t>(words, 1, network_.head().rows);
  if (words == words_ && captured_) return;
  words_ = words;
  draw_ = Graph(stream_, [this] { enqueue(/*draws=*/true); });
  captured_ = true;
}

// None: all take the likeliest token.
template <typename T>
void Decoder<T>::send_samplers(std::span<Sampler* const> samplers) {
  std::vector<SamplerSlot> slots(static_cast<std::size_t>(batch_));
  std::vector<std::int32_t> recent;
  for (std::size_t b = 0; b < samplers.size(); ++b) {
    const SamplerOptions& o = samplers[b]->options();
    SamplerSlot& slot = slots[b];
    slot = {.temperature = o.temperature,
            .top_k = static_cast<std::int32_t>(std::min<std::int64_t>(o.top_k, words_)),
            .top_p = o.top_p,
            .min_p = o.min_p,
            .repeat_penalty = o.repeat_penalty,
            .seed = o.seed,
            .draws = samplers[b]->state().draws};
    if (o.repeat_penalty == 1) continue;
    slot.repeat_last = static_cast<std::int32_t>(o.repeat_last);
    slot.accepted = samplers[b]->state().recent.size();
    recent.resize(static_cast<std::size_t>(batch_ * kMostRecent));
    std::ranges::copy(samplers[b]->state().recent,
                      recent.begin() + static_cast<std::int64_t>(b) * kMostRecent);
  }
  upload(slots_.data(), slots.data(), slots.size() * sizeof(SamplerSlot), stream_);
  if (!recent.empty()) upload(recent_.data(), recent.data(), recent.size() * sizeof(std::int32_t), stream_);
}

// Products make their plans and kernels are loaded at their first launch, which must not be in a capture. All
// rows share one throwaway session.
template <typename T>
void Decoder<T>::warm_up() {
  NetworkState state;
  state.layers.resize(1);
  state.device = DeviceStateHolder(
      std::make_unique<SessionState>(network_.config().n_layer * network_.layout().size, stream_));
  for (std::int64_t b = 0; b < batch_; ++b) {
    table_.set(b, state);
    table_.host_ids()[b] = 0;
  }
  table_.send(stream_);
  enqueue(/*draws=*/true);
  check(cudaStreamSynchronize(stream_), "the first step of a batch size");
}

template <typename T>
void Decoder<T>::enqueue(bool draws) {
  const Mamba3Sessions sessions{table_.states(), table_.positions(), table_.tails(), batch_};
  embedding(network_.embedding(), table_.ids(), batch_, residual_.data(), stream_);
  const auto mixer = [&](const NetworkLayer& layer, std::int64_t index, const MixerRows<T>& rows) {
    step_heads<T>(network_.mixer(), network_.layout(), layer.mixer, sessions, index * network_.layout().size,
                  rows.projected, rows.dynamics, rows.gated, LayerChain<T>::is_thin(batch_), stream_);
  };
  chain_.run(batch_, residual_.data(), mixer, {}, stream_);
  chain_.final_norm(batch_, residual_.data(), hidden_.data(), stream_);
  if (draws) {
    const std::int64_t V = network_.head().rows;
    chain_.head(batch_, hidden_.data(), 0, V, logits_.data(), stream_);
    sample({.batch = batch_,
            .vocab = V,
            .words = words_,
            .logits = logits_.data(),
            .slots = slots_.data(),
            .recent = recent_.data(),
            .recent_capacity = kMostRecent,
            .ids = table_.ids(),
            .scratch = sample_scratch_.data()},
           stream_);
  }
  advance(table_.positions(), table_.tails(), batch_, network_.layout().fold_every(), stream_);
}

template <typename T>
void Decoder<T>::send(std::span<const TokenId> ids, std::span<NetworkState* const> states) {
  for (std::int64_t b = 0; b < batch_; ++b) table_.set(b, *states[static_cast<std::size_t>(b)]);
  std::ranges::copy(ids, table_.host_ids());
  table_.send(stream_);
}

template <typename T>
void Decoder<T>::step(std::span<const TokenId> ids, std::span<NetworkState* const> states, float* hidden) {
  const std::int64_t D = network_.config().d_model;
  send(ids, states);
  read_.launch(stream_);
  download(hidden, hidden_.data(), static_cast<std::size_t>(batch_ * D) * sizeof(float), stream_);
  keep_hidden(states, hidden);
  move_on(states, 1);
}

template <typename T>
void Decoder<T>::keep_hidden(std::span<NetworkState* const> states, const float* hidden) const {
  const std::int64_t D = network_.config().d_model;
  for (NetworkState* state : states) {
    std::copy_n(hidden, D, state->hidden_of(state->position));
    hidden += D;
  }
}

template <typename T>
void Decoder<T>::draw(std::span<const TokenId> ids, std::span<NetworkState* const> states,
                      std::span<Sampler* const> samplers, std::int64_t words, std::span<TokenId> drawn) {
  choose_words(words);
  send(ids, states);
  send_samplers(samplers);
  draw_.launch(stream_);
  std::vector<float> hidden(static_cast<std::size_t>(batch_ * network_.config().d_model));
  download(hidden.data(), hidden_.data(), hidden.size() * sizeof(float), stream_);
  download(drawn.data(), table_.ids(), drawn.size_bytes(), stream_);
  for (Sampler* sampler : samplers) sampler->count_draw();
  keep_hidden(states, hidden.data());
  move_on(states, 1);
}

template <typename T>
void Decoder<T>::greedy(std::span<TokenId> ids, std::span<NetworkState* const> states, std::int64_t steps) {
  const std::int64_t D = network_.config().d_model, row = batch_ * D;
  const std::int64_t kept = std::min(steps, network_.layout().fold_every());
  choose_words(network_.head().rows);
  send(ids, states);
  send_samplers({});
  for (std::int64_t i = 0; i < steps; ++i) {
    draw_.launch(stream_);
    if (i < steps - kept) continue;
    check(cudaMemcpyAsync(history_.data() + (i - (steps - kept)) * row, hidden_.data(),
                          static_cast<std::size_t>(row) * sizeof(float), cudaMemcpyDeviceToDevice, stream_),
          "keeping hidden vectors");
  }
  std::vector<float> hidden(static_cast<std::size_t>(kept * row));
  download(hidden.data(), history_.data(), hidden.size() * sizeof(float), stream_);
  download(ids.data(), table_.ids(), ids.size_bytes(), stream_);
  for (std::int64_t i = 0; i < kept; ++i) {
    for (std::int64_t b = 0; b < batch_; ++b) {
      NetworkState& state = *states[static_cast<std::size_t>(b)];
      std::copy_n(hidden.data() + i * row + b * D, D, state.hidden_of(state.position + steps - kept + i));
    }
  }
  move_on(states, steps);
}

// What advance() did on the device.
template <typename T>
void Decoder<T>::move_on(std::span<NetworkState* const> states, std::int64_t steps) const {
  const std::int64_t every = network_.layout().fold_every();
  for (NetworkState* state : states) {
    const std::int64_t before = state->position;
    state->position += steps;
    const bool folded = state->position / every > before / every;
    for (LayerState& layer : state->layers)
      layer.tail = folded ? state->position % every : layer.tail + steps;
  }
}

template class Decoder<float>;
template class Decoder<__nv_bfloat16>;

}  // namespace mamba3::cuda
