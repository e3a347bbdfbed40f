#include "model/decode_cuda.h"

#include <algorithm>

#include "mixers/mamba3/step_cuda.h"
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
Decoder<T>::Decoder(const NetworkLayers& network, Gemm& gemm, std::int64_t batch, cudaStream_t stream)
    : network_(network),
      chain_(network, gemm),
      batch_(batch),
      stream_(stream),
      table_(batch, batch),
      residual_(batch * network.config().d_model),
      hidden_(batch * network.config().d_model),
      logits_(batch * network.head().rows),
      history_(network.layout().fold_every() * batch * network.config().d_model),
      slots_(batch),
      sample_scratch_(static_cast<std::int64_t>(sample_scratch(batch, network.head().rows))) {
  const std::vector<SamplerSlot> likeliest(static_cast<std::size_t>(batch));
  upload(slots_.data(), likeliest.data(), likeliest.size() * sizeof(SamplerSlot), stream);
  check(cudaMemsetAsync(sample_scratch_.data(), 0, static_cast<std::size_t>(sample_scratch_.size()), stream),
        "clearing the sampler's memory");
  chain_.prepare(batch);
  warm_up();
  read_ = Graph(stream, [this] { enqueue(/*draws=*/false); });
  draw_ = Graph(stream, [this] { enqueue(/*draws=*/true); });
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
    const Mamba3Parameters& p = layer.mixer;
    step_heads<T>(
        network_.mixer(), network_.layout(),
        {p.dt_bias, p.B_bias, p.C_bias, p.B_norm, p.C_norm, p.D, p.mimo_x, p.mimo_z, p.mimo_o, p.norm},
        sessions, index * network_.layout().size, rows.projected, rows.dynamics, rows.gated,
        /*overlap=*/false, stream_);
  };
  chain_.run(batch_, residual_.data(), mixer, {}, stream_);
  chain_.final_norm(batch_, residual_.data(), hidden_.data(), stream_);
  if (draws) {
    const std::int64_t V = network_.head().rows;
    chain_.head(batch_, hidden_.data(), 0, V, logits_.data(), stream_);
    sample({.batch = batch_,
            .vocab = V,
            .words = V,
            .logits = logits_.data(),
            .slots = slots_.data(),
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
  for (std::int64_t b = 0; b < batch_; ++b) {
    NetworkState& state = *states[static_cast<std::size_t>(b)];
    std::copy_n(hidden + b * D, D, state.hidden_of(state.position));
  }
  move_on(states, 1);
}

template <typename T>
void Decoder<T>::greedy(std::span<TokenId> ids, std::span<NetworkState* const> states, std::int64_t steps) {
  const std::int64_t D = network_.config().d_model, row = batch_ * D;
  const std::int64_t kept = std::min(steps, network_.layout().fold_every());
  send(ids, states);
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
