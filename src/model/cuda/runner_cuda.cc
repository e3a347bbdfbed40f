// The network on an NVIDIA GPU: sequences in windows, batches of single tokens as captured graphs.
#include <algorithm>
#include <mutex>

#include "core/device_info.h"
#include "core/error.h"
#include "mixers/mamba3/cuda/step_cuda.h"
#include "model/cuda/decode_cuda.h"
#include "model/cuda/prefill_cuda.h"
#include "model/runner.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"

namespace mamba3::cuda {
namespace {

// Rows whose logits are made at a time: 64 MB for a vocabulary of 128,256.
constexpr std::int64_t kLogitsRows = 128;

template <typename T>
class CudaRunner : public Runner {
 public:
  CudaRunner(const Checkpoint& checkpoint, const NetworkOptions& options)
      : device_(options.device_index),
        network_(checkpoint, std::is_same_v<T, float>, stream()),
        prefill_(network_, products_, stream()),
        head_chain_(network_, products_) {}

  NetworkState zero_state() const override {
    const Lock lock(*this);
    NetworkState state;
    state.layers.resize(static_cast<std::size_t>(config().n_layer));
    state.hidden.assign(static_cast<std::size_t>(network_.layout().chunk),
                        std::vector<float>(static_cast<std::size_t>(config().d_model)));
    state.device = DeviceStateHolder(std::make_unique<SessionState>(session_floats(), stream()));
    return state;
  }

  void prefill(Arena&, std::span<const TokenId> ids, NetworkState& state,
               const PrefillVisitors& visitors) const override {
    const Lock lock(*this);
    if (visitors.observer != nullptr) cpu_only("statistics of activations");
    const Prompt prompt{ids, &state};
    prefill_.run({&prompt, 1}, visitors);
  }

  void prefill_all(Arena&, std::span<const Prompt> prompts) const override {
    const Lock lock(*this);
    prefill_.run(prompts, {});
  }

  void step(Arena&, std::span<const TokenId> ids, std::span<NetworkState* const> states,
            float* hidden) const override {
    const Lock lock(*this);
    decoder(std::ssize(ids)).step(ids, states, hidden);
  }

  bool draws(const SamplerOptions& options) const override { return Decoder<T>::draws(options); }

  void draw(Arena&, std::span<const TokenId> ids, std::span<NetworkState* const> states,
            std::span<Sampler* const> samplers, std::int64_t words, std::span<TokenId> drawn) const override {
    const Lock lock(*this);
    decoder(std::ssize(ids)).draw(ids, states, samplers, words, drawn);
  }

  void greedy(Arena&, std::span<TokenId> ids, std::span<NetworkState* const> states,
              std::int64_t steps) const override {
    const Lock lock(*this);
    decoder(std::ssize(ids)).greedy(ids, states, steps);
  }

  void rewind(Arena&, NetworkState& state, std::int64_t tokens) const override {
    const Lock lock(*this);
    state.position -= tokens;
    for (LayerState& layer : state.layers) layer.tail -= tokens;
    table_.set(0, state);
    table_.send(stream());
    for (std::int64_t i = 0; i < config().n_layer; ++i) {
      turn_back(network_.layout(), {table_.states(), table_.positions(), table_.tails(), 1},
                i * network_.layout().size, stream());
    }
    stream_.synchronize();
  }

  void logits(Arena&, const float* hidden, std::int64_t rows, float* logits) const override {
    const Lock lock(*this);
    const std::int64_t D = config().d_model, V = network_.head().rows;
    for (std::int64_t first = 0; first < rows; first += kLogitsRows) {
      const std::int64_t now = std::min(kLogitsRows, rows - first);
      const float* x = upload_hidden(hidden + first * D, now);
      float* found = logits_for(now * V);
      head_chain_.head(now, x, 0, V, found, stream());
      download(logits + first * V, found, static_cast<std::size_t>(now * V) * sizeof(float), stream());
    }
  }

  void nll(Arena&, const float* hidden, std::span<const TokenId> targets, double* nll) const override {
    const Lock lock(*this);
    const std::int64_t D = config().d_model, count = std::ssize(targets);
    for (std::int64_t first = 0; first < count; first += kEntropyTokens) {
      const std::int64_t now = std::min(kEntropyTokens, count - first);
      window_nll(hidden + first * D, targets.subspan(first, now), nll + first);
    }
  }

  NetworkState on_host(const NetworkState& state) const override {
    const Lock lock(*this);
    NetworkState host = state;
    host.device = {};
    for (std::size_t i = 0; i < host.layers.size(); ++i) {
      AlignedFloats& values = host.layers[i].values;
      values.resize(static_cast<std::size_t>(network_.layout().size));
      download(values.data(), layer_values(state, i), values.size() * sizeof(float), stream());
    }
    return host;
  }

  NetworkState from_host(NetworkState host) const override {
    const Lock lock(*this);
    host.device = DeviceStateHolder(std::make_unique<SessionState>(session_floats(), stream()));
    for (std::size_t i = 0; i < host.layers.size(); ++i) {
      AlignedFloats& values = host.layers[i].values;
      upload(layer_values(host, i), values.data(), values.size() * sizeof(float), stream());
      values = {};
    }
    return host;
  }

  const PackedMatrix& head() const override { cpu_only("statistics of activations"); }

 private:
  // One call at a time, on this runner's device; a visitor of prefill may ask for logits meanwhile.
  class Lock {
   public:
    explicit Lock(const CudaRunner& runner) : lock_(runner.mutex_) { use_device(runner.device_.index); }

   private:
    std::lock_guard<std::recursive_mutex> lock_;
  };

  // Chosen before anything is made on it.
  struct Chosen {
    explicit Chosen(int i) : index(i) {
      check_device({Device::cuda, i});
      use_device(i);
    }
    int index;
  };

  [[noreturn]] static void cpu_only(const char* what) {
    fail(ErrorCode::unsupported, "{} need device cpu", what);
  }

  const ModelConfig& config() const { return network_.config(); }
  cudaStream_t stream() const { return stream_.get(); }
  std::int64_t session_floats() const { return config().n_layer * network_.layout().size; }
  float* layer_values(const NetworkState& state, std::size_t layer) const {
    return session_state(state).values() + static_cast<std::int64_t>(layer) * network_.layout().size;
  }

  Decoder<T>& decoder(std::int64_t batch) const {
    auto& made = decoders_[batch];
    if (!made) made = std::make_unique<Decoder<T>>(network_, products_, batch, stream());
    return *made;
  }

  float* logits_for(std::int64_t count) const {
    if (logits_.size() < count) logits_ = Buffer<float>(count);
    return logits_.data();
  }

  const float* upload_hidden(const float* hidden, std::int64_t rows) const {
    const std::int64_t values = rows * config().d_model;
    if (hidden_.size() < values) hidden_ = Buffer<float>(values);
    upload(hidden_.data(), hidden, static_cast<std::size_t>(values) * sizeof(float), stream());
    head_chain_.prepare(rows);
    return hidden_.data();
  }

  void window_nll(const float* hidden, std::span<const TokenId> targets, double* nll) const {
    const std::int64_t count = std::ssize(targets), V = network_.head().rows;
    const float* x = upload_hidden(hidden, count);
    if (nll_.size() < count) {
      nll_ = Buffer<double>(count);
      running_ = Buffer<RunningEntropy>(count);
      targets_ = Buffer<std::int32_t>(count);
    }
    upload(targets_.data(), targets.data(), targets.size_bytes(), stream());
    float* found = logits_for(count * std::min(V, kEntropyRows));
    for (std::int64_t first = 0; first < V; first += kEntropyRows) {
      const std::int64_t width = std::min(kEntropyRows, V - first);
      head_chain_.head(count, x, first, width, found, stream());
      cross_entropy_slice(found, width, first, width, targets_.data(), count, running_.data(), nll_.data(),
                          stream());
    }
    download(nll, nll_.data(), targets.size() * sizeof(double), stream());
  }

  mutable std::recursive_mutex mutex_;
  Chosen device_;
  Stream stream_;
  NetworkLayers network_;
  mutable Products products_;
  mutable Prefill<T> prefill_;
  mutable LayerChain<T> head_chain_;
  mutable std::map<std::int64_t, std::unique_ptr<Decoder<T>>> decoders_;
  mutable BatchTable table_{1, 1};
  mutable Buffer<float> hidden_, logits_;
  mutable Buffer<double> nll_;
  mutable Buffer<RunningEntropy> running_;
  mutable Buffer<std::int32_t> targets_;
};

}  // namespace
}  // namespace mamba3::cuda

namespace mamba3 {

std::unique_ptr<Runner> make_cuda_runner(const Checkpoint& checkpoint, const NetworkOptions& options) {
  if (options.exact || !cuda::has_bf16_kernels(checkpoint.config))
    return std::make_unique<cuda::CudaRunner<float>>(checkpoint, options);
  return std::make_unique<cuda::CudaRunner<__nv_bfloat16>>(checkpoint, options);
}

}  // namespace mamba3
