// Whole networks on the GPU against the CPU's in float32: prompts, steps, and states that wander.
#include "model/network.h"

#include "core/arena.h"
#include "gpu/gpu.h"
#include "mamba3/sampler.h"
#include "mamba3/session.h"
#include "support.h"

namespace mamba3::test {
namespace {

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

const std::vector<NetworkShape> kShapes = {
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

TEST_P(GpuNetwork, PromptsAgreeWithTheCpu) {
  for (const std::int64_t tokens : {1, 7, 64, 300}) {
    Text text(gpu());
    text.read(ids(0, tokens));
    EXPECT_LE(error_of(text.logits(), expected(tokens, 0)), bound()) << tokens << " tokens";
    EXPECT_EQ(text.state.position, tokens);
  }
}

TEST_P(GpuNetwork, StepsAgreeWithTheCpu) {
  for (const auto& [prompt, steps] : {std::pair{0, 25}, std::pair{50, 1}, std::pair{61, 19}}) {
    Text text(gpu());
    text.read(ids(0, prompt));
    text.step(ids(prompt, steps));
    EXPECT_LE(error_of(text.logits(), expected(prompt, steps)), bound()) << prompt << " and " << steps;
  }
}

TEST_P(GpuNetwork, PromptsFollowStepsAndEachOther) {
  Text text(gpu()), same(cpu());
  std::int64_t done = 0;
  for (const std::int64_t tokens : {5, 3, 64, 2, 1, 130}) {
    text.read(ids(done, tokens)), same.read(ids(done, tokens));
    done += tokens;
    text.step(ids(done, 3)), same.step(ids(done, 3));
    done += 3;
  }
  EXPECT_LE(error_of(text.logits(), same.logits()), bound());
}

TEST_P(GpuNetwork, StatesMoveBetweenDevices) {
  Text there(gpu()), here(cpu());
  there.read(ids(0, 45)), here.read(ids(0, 45));
  there.step(ids(45, 6)), here.step(ids(45, 6));
  // On to the CPU with a tail, and back again with another.
  Text on_cpu(cpu(), cpu().from_host(gpu().on_host(there.state)));
  on_cpu.step(ids(51, 3)), here.step(ids(51, 3));
  EXPECT_LE(error_of(on_cpu.logits(), here.logits()), bound());
  Text back(gpu(), gpu().from_host(cpu().on_host(on_cpu.state)));
  back.step(ids(54, 9)), here.step(ids(54, 9));
  EXPECT_LE(error_of(back.logits(), here.logits()), bound());
  Text from_cpu(gpu(), gpu().from_host(cpu().on_host(here.state)));
  from_cpu.read(ids(63, 20)), here.read(ids(63, 20));
  EXPECT_LE(error_of(from_cpu.logits(), here.logits()), bound());
}

TEST_P(GpuNetwork, MovingAStateKeepsItsBits) {
  Text straight(gpu());
  straight.read(ids(0, 30)), straight.step(ids(30, 5));
  Text moved(gpu(), gpu().from_host(gpu().on_host(straight.state)));
  Text forked(gpu(), straight.state);
  for (Text* text : {&straight, &moved, &forked}) text->step(ids(35, 12));
  EXPECT_TRUE(equal_bits(moved.logits(), straight.logits()));
  EXPECT_TRUE(equal_bits(forked.logits(), straight.logits()));
}

TEST_P(GpuNetwork, SessionsAreSavedOnOneDeviceAndLoadedOnAnother) {
  const TemporaryFolder folder;
  const Model on_gpu(gpu_), on_cpu(cpu_);
  Session written(on_gpu);
  written.prefill(ids(0, 40));
  for (const TokenId id : ids(40, 5)) written.step(id);
  written.save(folder / "state");
  Session again = Session::load(on_gpu, folder / "state"), other = Session::load(on_cpu, folder / "state");
  Session fork = written.fork();
  EXPECT_EQ(again.position(), 45);
  for (Session* session : {&written, &again, &other, &fork}) {
    for (const TokenId id : ids(45, 10)) session->step(id);
  }
  const auto logits = [](Session& session) {
    return Logits(session.logits().begin(), session.logits().end());
  };
  EXPECT_TRUE(equal_bits(logits(again), logits(written)));
  EXPECT_TRUE(equal_bits(logits(fork), logits(written)));
  EXPECT_LE(error_of(logits(other), logits(written)), bound_of_two());
}

TEST_P(GpuNetwork, RewindingUndoesSteps) {
  Text straight(gpu()), wandering(gpu());
  straight.read(ids(0, 33)), wandering.read(ids(0, 33));
  straight.step(ids(33, 2)), wandering.step(ids(33, 2));
  std::int64_t done = 35;
  while (wandering.state.rewindable() < 2) {
    straight.step(ids(done, 1)), wandering.step(ids(done, 1));
    ++done;
  }
  const auto before = wandering.logits();
  wandering.rewind(1);
  wandering.step(ids(done - 1, 1));
  EXPECT_TRUE(equal_bits(wandering.logits(), before));
  if (wandering.state.rewindable() >= 2) wandering.rewind(2), wandering.step(ids(done - 2, 2));
  straight.step(ids(done, 15)), wandering.step(ids(done, 15));
  EXPECT_TRUE(equal_bits(wandering.logits(), straight.logits()));
}

TEST_P(GpuNetwork, ABatchGivesWhatItsSessionsGetAlone) {
  Arena arena;
  const std::int64_t D = gpu().config().d_model;
  for (const std::int64_t batch : {2, 16, 17, 40}) {
    std::vector<NetworkState> states;
    std::vector<NetworkState*> all;
    std::vector<Text> alone;
    for (std::int64_t b = 0; b < batch; ++b) {
      Text& text = alone.emplace_back(gpu());
      text.read(ids(b, 3 + b % 5));
      states.push_back(text.state);
    }
    for (NetworkState& state : states) all.push_back(&state);
    std::vector<float> hidden(static_cast<std::size_t>(batch * D));
    for (std::int64_t i = 0; i < 10; ++i) gpu().step(arena, ids(100 + i, batch), all, hidden.data());
    for (std::int64_t b = 0; b < batch; b += 7) {
      for (std::int64_t i = 0; i < 10; ++i) alone[b].step(ids(100 + i + b, 1));
      const Logits expected = alone[b].logits();
      Text together(gpu(), states[b]);
      EXPECT_LE(error_of(together.logits(), expected), bound_of_two()) << "session " << b << " of " << batch;
      // Few rows, or float32: an output's bits depend on its own row alone.
      if (batch <= 16 || GetParam().exact) {
        EXPECT_TRUE(equal_bits(together.logits(), expected));
      }
    }
  }
}

TEST_P(GpuNetwork, GreedyTakesTheLikeliestTokens) {
  Arena arena;
  constexpr std::int64_t kBatch = 3, kSteps = 21;
  std::vector<NetworkState> states, same;
  std::vector<NetworkState*> all, all_same;
  for (std::int64_t b = 0; b < kBatch; ++b) {
    Text text(gpu());
    text.read(ids(10 * b, 9 + b));
    states.push_back(text.state), same.push_back(text.state);
  }
  for (std::int64_t b = 0; b < kBatch; ++b) all.push_back(&states[b]), all_same.push_back(&same[b]);
  Ids next = ids(7, kBatch), expected = next;
  gpu().greedy(arena, next, all, kSteps);
  const std::int64_t D = gpu().config().d_model, V = gpu().config().vocab_rows();
  std::vector<float> hidden(kBatch * D), logits(kBatch * V);
  for (std::int64_t i = 0; i < kSteps; ++i) {
    gpu().step(arena, expected, all_same, hidden.data());
    gpu().logits(arena, hidden.data(), kBatch, logits.data());
    for (std::int64_t b = 0; b < kBatch; ++b) {
      const float* row = logits.data() + b * V;
      expected[b] = static_cast<TokenId>(std::max_element(row, row + V) - row);
    }
  }
  EXPECT_EQ(next, expected);
  for (std::int64_t b = 0; b < kBatch; ++b) {
    EXPECT_EQ(states[b].position, same[b].position);
    EXPECT_EQ(states[b].rewindable(), same[b].rewindable());
    Text a(gpu(), states[b]), c(gpu(), same[b]);
    EXPECT_TRUE(equal_bits(a.logits(), c.logits())) << "the last hidden vector";
    a.step(ids(3, 1)), c.step(ids(3, 1));
    EXPECT_TRUE(equal_bits(a.logits(), c.logits())) << "the state";
  }
}

TEST_P(GpuNetwork, DrawsWhatASamplerDrawsFromItsLogits) {
  Arena arena;
  constexpr std::int64_t kBatch = 4;
  const std::int64_t V = gpu().config().vocab_rows(), words = 500;
  std::vector<Sampler> there, here;
  for (std::int64_t b = 0; b < kBatch; ++b) {
    SamplerOptions options{.temperature = b == 0 ? 0 : 0.7f * static_cast<float>(b), .seed = 5};
    if (b == 2) options.repeat_penalty = 1.4f;
    if (b == 3) options.top_k = 0, options.top_p = 1, options.min_p = 0;
    ASSERT_TRUE(gpu().draws(options));
    there.emplace_back(options), here.emplace_back(options);
  }
  std::vector<NetworkState> states(kBatch, gpu().zero_state()), same = states;
  std::vector<NetworkState*> all, all_same;
  std::vector<Sampler*> samplers;
  for (std::int64_t b = 0; b < kBatch; ++b) {
    all.push_back(&states[b]), all_same.push_back(&same[b]);
    samplers.push_back(&there[b]);
  }
  Ids next = ids(7, kBatch), expected = next;
  std::vector<float> hidden(kBatch * gpu().config().d_model), logits(kBatch * V);
  for (std::int64_t i = 0; i < 20; ++i) {
    Ids drawn(kBatch);
    gpu().draw(arena, next, all, samplers, words, drawn);
    gpu().step(arena, expected, all_same, hidden.data());
    gpu().logits(arena, hidden.data(), kBatch, logits.data());
    for (std::int64_t b = 0; b < kBatch; ++b) {
      expected[b] = here[b].sample(std::span(logits).subspan(b * V, V), words);
      here[b].accept(expected[b]), there[b].accept(drawn[b]);
    }
    EXPECT_EQ(drawn, expected) << "token " << i;
    next = drawn;
  }
}

TEST_P(GpuNetwork, ManyPromptsAtOnceAreEachOne) {
  Arena arena;
  std::vector<Text> alone;
  std::vector<NetworkState> states(5, gpu().zero_state());
  std::vector<Prompt> prompts;
  std::vector<Ids> texts;
  for (std::int64_t i = 0; i < 5; ++i) texts.push_back(ids(20 * i, 1 + 60 * i));
  for (std::int64_t i = 0; i < 5; ++i) {
    alone.emplace_back(gpu()).read(texts[i]);
    prompts.push_back({texts[i], &states[i]});
  }
  gpu().prefill_all(arena, prompts);
  for (std::int64_t i = 0; i < 5; ++i) {
    Text together(gpu(), states[i]);
    EXPECT_LE(error_of(together.logits(), alone[i].logits()), bound_of_two()) << "prompt " << i;
    if (GetParam().exact) {
      EXPECT_TRUE(equal_bits(together.logits(), alone[i].logits())) << "prompt " << i;
    }
  }
}

TEST_P(GpuNetwork, AnyDivisionGivesTheSameBitsWhenExact) {
  if (!GetParam().exact) GTEST_SKIP() << "a promise of the exact path alone";
  Text whole(gpu());
  whole.read(ids(0, 200));
  for (const std::vector<std::int64_t>& cuts :
       {std::vector<std::int64_t>{1, 2, 3}, {63}, {64, 65}, {7, 16, 100, 199}}) {
    Text text(gpu());
    std::int64_t done = 0;
    for (const std::int64_t cut : cuts) {
      text.read(ids(done, cut - done));
      text.state = gpu().from_host(gpu().on_host(text.state));
      done = cut;
    }
    text.read(ids(done, 200 - done));
    EXPECT_TRUE(equal_bits(text.logits(), whole.logits())) << "first cut at " << cuts.front();
  }
}

TEST_P(GpuNetwork, LossesAgreeWithTheCpu) {
  Arena arena;
  const std::int64_t tokens = 150, D = gpu().config().d_model;
  const auto losses = [&](const Network& network) {
    std::vector<float> rows;
    NetworkState state = network.zero_state();
    std::vector<float> last(static_cast<std::size_t>(D));
    PrefillVisitors visitors;
    visitors.on_hidden = [&](const RowWindow& window, const float* hidden) {
      rows.insert(rows.end(), hidden + window.begin * D, hidden + window.end * D);
    };
    network.prefill(arena, ids(0, tokens), state, last.data(), visitors);
    EXPECT_EQ(std::ssize(rows), tokens * D);
    std::vector<double> nll(static_cast<std::size_t>(tokens));
    const RowWindow all{.position = 0, .rows = tokens, .begin = 0, .end = tokens};
    network.nll(arena, all, rows.data(), ids(1, tokens), nll.data());
    return nll;
  };
  const auto found = losses(gpu()), expected = losses(cpu());
  EXPECT_LE(error_of(found, expected), bound());
}

INSTANTIATE_TEST_SUITE_P(Shapes, GpuNetwork, testing::ValuesIn(kShapes),
                         [](const auto& shape) { return shape.param.name; });

}  // namespace
}  // namespace mamba3::test
