#include "infer/measure.h"

#include <cmath>

#include "infer/agreement.h"
#include "infer/workload.h"
#include "mamba3/error.h"
#include "model/network.h"
#include "support.h"

namespace mamba3 {
namespace {

/// Two layers with an MLP; its rows fill the blocks of every quantized type.
ModelConfig small_config(bool mimo) {
  ModelConfig c;
  c.d_model = 256;
  c.n_layer = 2;
  c.vocab_size = 512;
  c.d_intermediate = c.ffn_width = 512;
  c.mixer.d_model = 256;
  c.mixer.d_state = 32;
  c.mixer.is_mimo = mimo;
  c.mixer.mimo_rank = 4;
  return c;
}

Model small_model(bool mimo, DType type) {
  return Model(std::make_shared<const Network>(random_checkpoint(small_config(mimo), "small", 0, type)));
}

TEST(Agreement, FailsForErrorsAndForNaN) {
  EXPECT_TRUE((Agreement{4, 1e-6, 1e-5, 1e-4}.holds()));
  EXPECT_FALSE((Agreement{4, 1e-3, 0, 1e-4}.holds()));
  EXPECT_FALSE((Agreement{4, 0, 1e-3, 1e-4}.holds()));
  EXPECT_FALSE((Agreement{4, std::nan(""), 0, 1e-4}.holds()));
}

TEST(Agreement, ModelsAgreeWithTheReference) {
  for (const char* name : {"tiny-siso", "tiny-mimo"}) {
    const Agreement agreement = agreement_with_reference(Model::load(test::fixtures() / name));
    EXPECT_TRUE(agreement.holds()) << name << " " << agreement.prefill_error << " " << agreement.step_error;
    EXPECT_GT(agreement.prefill_error + agreement.step_error, 0) << "compared with itself?";
  }
}

TEST(Agreement, HoldsForRandomModelsOfEveryType) {
  for (const std::string_view name : float_type_names()) {
    const Agreement agreement = agreement_with_reference(small_model(false, dtype_named(name).value()));
    EXPECT_TRUE(agreement.holds()) << name << " " << agreement.prefill_error << " " << agreement.step_error;
  }
}

TEST(Agreement, AllowsWhatTheTypesOfTheMatricesRound) {
  // Two layers of in_proj (four factors), up and gate, and the head: 13 inputs of normal values; out_proj and
  // down: 4 of gated ones, whose largest is 6.6 where theirs is 3. Twice the root of the sum of squares.
  EXPECT_EQ(allowed_logits_error(small_model(false, DType::f32)), 1e-4);
  EXPECT_EQ(allowed_logits_error(small_model(false, DType::f16)), 1e-4);
  EXPECT_NEAR(allowed_logits_error(small_model(true, DType::bf16)), 1e-4 + 2 * std::sqrt(17.0 / 3) / 512,
              1e-9);
  EXPECT_NEAR(allowed_logits_error(small_model(true, DType::q8_0)),
              1e-4 + 2 * std::sqrt((13 * 9 + 4 * 6.6 * 6.6) / 12.0) / 127, 1e-9);
}

TEST(Workload, CountsByHand) {
  for (const bool mimo : {false, true}) {
    const Workload work = Workload::of(small_model(mimo, DType::bf16).network().checkpoint());
    // D 256, E 512, P 64, H 8, N 32, S 8, F 512, V 512, two layers.
    const std::int64_t R = mimo ? 4 : 1;
    const std::int64_t in_proj = (2 * 512 + 2 * R * 32) * 256, dynamics = (3 * 8 + 8) * 256;
    const std::int64_t out_proj = 256 * 512, mlp = 3 * 512 * 256;
    EXPECT_EQ(work.token_operations, 2 * (2 * (in_proj + dynamics + out_proj + mlp) + 4 * 8 * R * 32 * 64));
    EXPECT_EQ(work.head_operations, 2 * 512 * 256);
    EXPECT_EQ(work.state_bytes, 2 * 4 * 8 * (32 * 64 + R * 32 + 64 + 8));
    EXPECT_EQ(work.prompt_operations(10), 10.0 * static_cast<double>(work.token_operations) + 2 * 512 * 256);
    const std::int64_t matrices = 2 * (2 * (in_proj + out_proj + mlp) + 4 * dynamics) + 2 * 512 * 256;
    const std::int64_t vectors_at_most = 2 * 4 * (3 * 256 + 2 * 8 * R * 32 + 3 * 8 * R * 64 + 200) + 4 * 256;
    EXPECT_GE(work.weight_bytes, matrices);
    EXPECT_LE(work.weight_bytes, matrices + vectors_at_most);
    EXPECT_EQ(work.step_bytes(3), static_cast<double>(work.weight_bytes + 6 * work.state_bytes));
  }
}

TEST(Workload, ReadsARowOfAnEmbeddingThatIsNotTheHead) {
  ModelConfig config = small_config(false);
  const auto tied = Workload::of(random_checkpoint(config, "tied", 0, DType::bf16));
  config.tie_embeddings = false;
  const auto apart = Workload::of(random_checkpoint(config, "apart", 0, DType::bf16));
  EXPECT_EQ(tied.weight_bytes, apart.weight_bytes);
  EXPECT_EQ(tied.token_operations, apart.token_operations);
  EXPECT_EQ(tied.head_operations, apart.head_operations);
}

TEST(Measure, GivesEveryFigureOnceARound) {
  const Model model = Model::load(test::fixtures() / "tiny-siso");
  std::vector<MeasureProgress> heard;
  const Measurement found = measure(
      model, {.prompts = {5, 70}, .depths = {100, 0}, .batches = {1, 3}, .decode_tokens = 2, .repeats = 4},
      [&](const MeasureProgress& progress) { heard.push_back(progress); });
  ASSERT_EQ(found.prefill.size(), 2u);
  EXPECT_EQ(found.prefill[1].tokens, 70);
  ASSERT_EQ(found.decode.size(), 4u);
  EXPECT_EQ(found.decode[1].depth, 100);
  EXPECT_EQ(found.decode[1].batch, 3);
  EXPECT_EQ(found.decode[2].depth, 0);
  for (const auto& figure : found.prefill) EXPECT_EQ(figure.seconds.size(), 4u);
  for (const auto& figure : found.decode) {
    EXPECT_EQ(figure.seconds.size(), 4u);
    EXPECT_GT(figure.resident_bytes, 0);
    for (const double seconds : figure.seconds) EXPECT_GT(seconds, 0);
  }
  EXPECT_GE(found.ceilings.memory.size(), 24u);  // before each of 4 x 6 figures
  EXPECT_EQ(found.ceilings.memory.size(), found.ceilings.f32.size());
  EXPECT_EQ(heard.front().total, 100);  // the depth first, one pass for all
  EXPECT_EQ(heard.back().total, 24);
  EXPECT_EQ(heard.back().done, 23);
}

TEST(Measure, RefusesNumbersThatMeasureNothing) {
  const Model model = Model::load(test::fixtures() / "tiny-siso");
  const auto refuses = [&](const MeasureOptions& options, const char* word) {
    try {
      measure(model, options);
      ADD_FAILURE() << word;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  };
  refuses({.prompts = {0}}, "prompt tokens is 0");
  refuses({.prompts = {}}, "prompt tokens is missing");
  refuses({.depths = {-1}}, "depth is -1, expected 0");
  refuses({.batches = {4, 0}}, "batch is 0");
  refuses({.decode_tokens = 2'000'000'000}, "2000000000");
  refuses({.repeats = 0}, "repeats is 0");
  refuses({.batches = {1'000'000'000}}, "a batch of 1000000000 sessions needs");
}

}  // namespace
}  // namespace mamba3
