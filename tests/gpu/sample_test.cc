// Tokens drawn on the GPU are the CPU's.
#include "gpu/gpu.h"
#include "mamba3/sampler.h"
#include "ops/sample/sample_cuda.h"

namespace mamba3::test {
namespace {

class GpuSample : public OnGpu {};

constexpr std::int64_t kRecent = 64;

// One set of options for each row of a batch, with seeds of their own.
std::vector<SamplerOptions> options_to_try() {
  std::vector<SamplerOptions> all;
  const auto add = [&](float temperature, std::int64_t k, float p, float min_p, float penalty,
                       std::int64_t last) {
    all.push_back({temperature, k, p, min_p, penalty, last, 17 + all.size()});
  };
  add(0, 40, 0.95f, 0.05f, 1, 64);     // the likeliest
  add(0, 0, 1, 0, 1.5f, 64);           // the likeliest but for the penalty
  add(0.8f, 40, 0.95f, 0.05f, 1, 64);  // the defaults
  add(1, 0, 1, 0, 1, 0);               // the whole softmax
  add(2, 0, 0.9f, 0, 1.3f, 3);         // top_p of everything
  add(0.5f, 0, 1, 0.01f, 1, 64);       // min_p of everything
  add(1, 1000, 0.5f, 0, 0.8f, 10);     // recent tokens are liked
  add(1, 5000, 1, 0, 1, 64);           // more than fit into a sorted list
  add(3, 7, 1, 0, 1, 64);
  return all;
}

cuda::SamplerSlot slot_of(const SamplerOptions& o) {
  return {o.temperature,    static_cast<std::int32_t>(o.top_k),       o.top_p, o.min_p,
          o.repeat_penalty, static_cast<std::int32_t>(o.repeat_last), o.seed};
}

// Peaked as a model's: few tokens near the top, the others far below. Some are equal.
std::vector<float> made_up_logits(std::uint64_t seed, std::int64_t vocab) {
  auto logits = uniform(seed, vocab, 0, 1);
  for (float& v : logits) v = 18 * v * v * v - 6;
  for (std::int64_t i = 0; i + 1000 < vocab; i += 997) logits[i] = logits[i + 1000];
  return logits;
}

void expect_the_same_tokens(std::int64_t vocab, std::int64_t words, cudaStream_t stream) {
  constexpr int kDraws = 40;
  const auto options = options_to_try();
  const std::int64_t batch = std::ssize(options);
  std::vector<Sampler> samplers;
  std::vector<cuda::SamplerSlot> slots;
  for (const SamplerOptions& o : options) {
    samplers.emplace_back(o);
    slots.push_back(slot_of(o));
  }
  const auto device_slots = on_device(slots, stream);
  const auto recent = poisoned<std::int32_t>(batch * kRecent, stream);
  const auto ids = poisoned<std::int32_t>(batch, stream);
  const auto scratch =
      zeros<std::byte>(static_cast<std::int64_t>(cuda::sample_scratch(batch, words)), stream);
  for (int draw = 0; draw < kDraws; ++draw) {
    std::vector<float> logits;
    std::vector<std::int32_t> expected;
    for (std::int64_t b = 0; b < batch; ++b) {
      const auto row = made_up_logits(static_cast<std::uint64_t>(draw * batch + b), vocab);
      expected.push_back(samplers[b].sample(row, words));
      samplers[b].accept(expected.back());
      logits.insert(logits.end(), row.begin(), row.end());
    }
    const auto device_logits = on_device(logits, stream);
    cuda::sample({.batch = batch,
                  .vocab = vocab,
                  .words = words,
                  .logits = device_logits.data(),
                  .slots = device_slots.data(),
                  .recent = recent.data(),
                  .recent_capacity = kRecent,
                  .ids = ids.data(),
                  .scratch = scratch.data()},
                 stream);
    EXPECT_EQ(on_host(ids, stream), expected) << "draw " << draw;
    if (testing::Test::HasFailure()) return;
  }
  const auto found = on_host(device_slots, stream);
  for (std::int64_t b = 0; b < batch; ++b) {
    EXPECT_EQ(found[b].draws, samplers[b].state().draws) << "row " << b;
    EXPECT_EQ(found[b].accepted, kDraws) << "row " << b;
  }
}

TEST_F(GpuSample, DrawsWhatTheCpuDraws) {
  for (const auto& [vocab, words] : {std::pair<std::int64_t, std::int64_t>{1, 1},
                                     {7, 7},
                                     {1003, 1000},
                                     {32'000, 32'000},
                                     {128'256, 128'000}}) {
    SCOPED_TRACE(vocab);
    expect_the_same_tokens(vocab, words, stream());
  }
}

TEST_F(GpuSample, TakesTheFirstOfEquals) {
  const std::int64_t vocab = 50'000;
  std::vector<float> logits(vocab, 2.0f);
  logits[3] = -1;
  std::vector<std::vector<float>> rows = {logits, logits};
  rows[1][40'001] = rows[1][40'000] = 2.5f;
  std::vector<float> both;
  for (const auto& row : rows) both.insert(both.end(), row.begin(), row.end());
  const auto device_logits = on_device(both, stream());
  const auto slots = on_device(std::vector<cuda::SamplerSlot>(2), stream());
  const auto ids = poisoned<std::int32_t>(2, stream());
  const auto scratch = zeros<std::byte>(static_cast<std::int64_t>(cuda::sample_scratch(2, vocab)), stream());
  cuda::sample({.batch = 2,
                .vocab = vocab,
                .words = vocab,
                .logits = device_logits.data(),
                .slots = slots.data(),
                .ids = ids.data(),
                .scratch = scratch.data()},
               stream());
  EXPECT_EQ(on_host(ids, stream()), (std::vector<std::int32_t>{0, 40'000}));
}

}  // namespace
}  // namespace mamba3::test
