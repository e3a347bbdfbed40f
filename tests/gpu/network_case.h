// One small network of many a shape, on the GPU and, in float32, on the CPU.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "core/arena.h"
#include "gpu/gpu.h"
#include "model/network.h"

namespace mamba3::test {

// `exact`: float32 on the GPU, too.
struct NetworkShape {
  std::string name;
  DType type = DType::bf16;
  std::int64_t rank = 0;  // 0: SISO
  bool exact = false, rms_norm = true, tied = true;
  std::int64_t ffn = 256, headdim = 64, d_state = 128, groups = 1;

  ModelConfig config() const {
    ModelConfig c;
    c.d_model = 256, c.n_layer = 3, c.vocab_size = 509;
    c.d_intermediate = c.ffn_width = ffn;
    c.rms_norm = rms_norm, c.tie_embeddings = tied;
    c.mixer.d_model = c.d_model;
    c.mixer.headdim = headdim, c.mixer.d_state = d_state, c.mixer.ngroups = groups;
    c.mixer.is_mimo = rank > 0, c.mixer.mimo_rank = std::max<std::int64_t>(rank, 1);
    return c;
  }
  friend std::ostream& operator<<(std::ostream& out, const NetworkShape& s) { return out << s.name; }
};

inline const std::vector<NetworkShape> kNetworkShapes = {
    {.name = "Siso"},
    {.name = "Mimo", .rank = 4},
    {.name = "SisoWithoutMlp", .ffn = 0, .headdim = 32, .groups = 2},
    {.name = "LayerNormUntied", .rms_norm = false, .tied = false},
    {.name = "MimoR3LayerNorm", .rank = 3, .rms_norm = false, .headdim = 128, .d_state = 64},
    {.name = "Q8", .type = DType::q8_0},
    {.name = "MimoQ4K", .type = DType::q4_k, .rank = 2},
    {.name = "SisoExact", .exact = true},
    {.name = "MimoExact", .rank = 4, .exact = true},
    {.name = "Q4KExactUntied", .type = DType::q4_k, .exact = true, .tied = false},
    {.name = "F32Exact", .type = DType::f32, .exact = true, .rms_norm = false},
};

using Logits = std::vector<float>;
using Ids = std::vector<TokenId>;

// Sessions of one network.
class Text {
 public:
  explicit Text(const Network& network) : network_(network), state(network.zero_state()) {}
  Text(const Network& network, NetworkState from) : network_(network), state(std::move(from)) {}

  void read(std::span<const TokenId> ids) {
    if (ids.empty()) return;
    hidden_.resize(static_cast<std::size_t>(network_.config().d_model));
    network_.prefill(arena_, ids, state, hidden_.data());
  }
  void step(std::span<const TokenId> ids) {
    hidden_.resize(static_cast<std::size_t>(network_.config().d_model));
    NetworkState* const mine = &state;
    for (const TokenId id : ids) network_.step(arena_, {&id, 1}, {&mine, 1}, hidden_.data());
  }
  void rewind(std::int64_t tokens) { network_.rewind(arena_, state, tokens); }
  Logits logits() {
    Logits found(static_cast<std::size_t>(network_.config().vocab_rows()));
    network_.logits(arena_, state.hidden_of(state.position - 1), 1, found.data());
    return found;
  }

 private:
  const Network& network_;
  Arena arena_;
  std::vector<float> hidden_;

 public:
  NetworkState state;
};

class GpuNetwork : public testing::TestWithParam<NetworkShape> {
 protected:
  void SetUp() override {
    const CudaInfo info = cuda::cuda_info();
    if (info.devices.empty()) GTEST_SKIP() << info.missing;
    const Checkpoint checkpoint = random_checkpoint(GetParam().config(), "random", 3, GetParam().type);
    cpu_ = std::make_shared<const Network>(checkpoint, NetworkOptions{.exact = true});
    gpu_ = std::make_shared<const Network>(checkpoint,
                                           NetworkOptions{.device = Device::cuda, .exact = GetParam().exact});
  }
  const Network& cpu() const { return *cpu_; }
  const Network& gpu() const { return *gpu_; }

  // Float32: 1e-4 for the logits of a model (docs/numerics.md). Else a walk with a step of kBf16Unit /
  // sqrt(3) for each rounding to bfloat16 on a token's way through a layer: in_proj's input and what it gives
  // (z, x, B and C, which are multiplied with each other, so that the input counts four times), q, k, scores
  // and state in the scan, out_proj's input, up's and gate's inputs and what they give, down's input; and the
  // head's.
  double bound() const {
    constexpr double kRoundings = 8 + 4 + 1 + 4 + 1;
    const auto layers = static_cast<double>(GetParam().config().n_layer);
    return GetParam().exact ? 1e-4 : kBf16Unit * std::sqrt((layers * kRoundings + 1) / 3);
  }
  // Two paths of a GPU, each as far from the truth.
  double bound_of_two() const { return std::sqrt(2.0) * bound(); }

  static Ids ids(std::int64_t first, std::int64_t count) {
    Ids made;
    for (std::int64_t i = first; i < first + count; ++i)
      made.push_back(static_cast<TokenId>((i * 37 + i * i % 113) % 509));
    return made;
  }

  // A text of prompts and steps on the CPU and what it ends with.
  Logits expected(std::int64_t prompt, std::int64_t steps) const {
    Text text(cpu());
    text.read(ids(0, prompt));
    text.step(ids(prompt, steps));
    return text.logits();
  }

  std::shared_ptr<const Network> cpu_, gpu_;
};

#define MAMBA3_ON_EVERY_NETWORK(suite)                                       \
  INSTANTIATE_TEST_SUITE_P(Shapes, suite, testing::ValuesIn(kNetworkShapes), \
                           [](const auto& shape) { return shape.param.name; })

}  // namespace mamba3::test
