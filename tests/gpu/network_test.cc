// Prompts, steps and batches of whole networks on the GPU against the CPU's in float32.
#include "gpu/network_case.h"
#include "mamba3/sampler.h"
#include "model/cuda/chain_cuda.h"

namespace mamba3::test {
namespace {

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

TEST_P(GpuNetwork, ABatchGivesWhatItsSessionsGetAlone) {
  Arena arena;
  const std::int64_t D = gpu().config().d_model;
  for (const std::int64_t batch : {std::int64_t{2}, cuda::kThinRows, cuda::kThinRows + 1, std::int64_t{40}}) {
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
      if (batch <= cuda::kThinRows || GetParam().exact) {
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

MAMBA3_ON_EVERY_NETWORK(GpuNetwork);

}  // namespace
}  // namespace mamba3::test
