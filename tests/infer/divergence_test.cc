#include "infer/divergence.h"

#include <array>
#include <cmath>
#include <limits>

#include "infer/agreement.h"
#include "mamba3/error.h"
#include "mamba3/session.h"
#include "model/network.h"
#include "support.h"

namespace mamba3 {
namespace {

constexpr float kLog3 = 1.0986122886681098f;

TEST(Divergence, OfRowsComputedByHand) {
  // p = (1/4, 3/4), q = (1/2, 1/2); a constant added to logits changes no probability.
  const std::array<float, 2> reference = {7, 7 + kLog3}, model = {-3, -3};
  const RowDivergence row = compare_rows(reference, model, 0);
  EXPECT_NEAR(row.kl, 0.25 * std::log(0.5) + 0.75 * std::log(1.5), 1e-6);
  EXPECT_NEAR(row.reference_nll, std::log(4.0), 1e-6);
  EXPECT_NEAR(row.nll, std::log(2.0), 1e-6);
  EXPECT_FALSE(row.same_top);  // of equals the first counts
  EXPECT_NEAR(row.error, 10 * 10 + (10 + kLog3) * (10 + kLog3), 1e-4);
  EXPECT_NEAR(row.norm, 49 + (7 + kLog3) * (7 + kLog3), 1e-4);
  // The other direction is another number: the reference stands in front.
  EXPECT_NEAR(compare_rows(model, reference, 0).kl, 0.5 * std::log(2.0) + 0.5 * std::log(2.0 / 3), 1e-6);
}

TEST(Divergence, StandsLargeLogits) {
  const std::array<float, 3> reference = {3e4f, 0, -3e4f}, model = {0, 3e4f, -3e4f};
  const RowDivergence row = compare_rows(reference, model, 2);
  EXPECT_NEAR(row.kl, 3e4, 1e-3);
  EXPECT_NEAR(row.nll, 6e4, 1e-3);
  EXPECT_EQ(compare_rows(reference, reference, 0).kl, 0);
}

Model tiny(const char* name) {
  return Model::load(test::fixtures() / name);
}

/// tiny-siso with the final norm's weight times `factor`: its logits are those of tiny-siso times `factor`.
Model sharpened(float factor) {
  Checkpoint checkpoint = load_checkpoint(test::fixtures() / "tiny-siso");
  TensorView& weight = checkpoint.tensors.at("norm_f.weight");
  const auto values = std::make_shared<std::vector<float>>(static_cast<std::size_t>(weight.elements()));
  to_float(weight.dtype, weight.bytes.data(), weight.elements(), values->data());
  for (float& v : *values) v *= factor;
  weight = {DType::f32, weight.shape, std::as_bytes(std::span(*values))};
  checkpoint.owners.push_back(values);
  return Model(std::make_shared<const Network>(std::move(checkpoint)));
}

TEST(Compare, FindsNoDifferenceBetweenIdenticalModels) {
  for (const char* name : {"tiny-siso", "tiny-mimo"}) {
    const Model model = tiny(name);
    const auto ids = made_up_tokens(model, 0, 130);
    const Comparison found = compare(model, tiny(name), ids, {.window = 40, .drift_tokens = 90});
    EXPECT_EQ(found.window_count, 3);
    EXPECT_EQ(found.windows.kl.size(), 120u);
    EXPECT_EQ(quantile_of(found.windows.kl, 1), 0);
    EXPECT_EQ(found.windows.same_top.value(), 1);
    EXPECT_EQ(found.windows.nll_difference.value(), 0);
    EXPECT_EQ(found.windows.logits_error(), 0);
    ASSERT_EQ(found.drift.size(), 8u);
    EXPECT_EQ(found.drift.front().first, 0);
    EXPECT_EQ(found.drift.back().last, 90);
    std::size_t tokens = 0;
    for (const DriftBucket& bucket : found.drift) {
      tokens += bucket.divergence.kl.size();
      EXPECT_EQ(quantile_of(bucket.divergence.kl, 1), 0);
    }
    EXPECT_EQ(tokens, 90u);
  }
}

TEST(Compare, GivesTheDivergenceOfAKnownPerturbation) {
  const Model reference = tiny("tiny-siso"), model = sharpened(2);
  const auto ids = made_up_tokens(reference, 0, 34);
  const Comparison found = compare(model, reference, ids, {.window = 33, .drift_tokens = 33});
  Session session(reference);
  double kl = 0, difference = 0;
  for (std::size_t t = 0; t < 33; ++t) {
    session.prefill(std::span(ids).subspan(t, 1));
    const auto l = session.logits();
    double z = 0, z2 = 0, mean = 0;  // log q = 2 l - log z2 where log p = l - log z
    for (const float v : l) z += std::exp(double{v}), z2 += std::exp(2 * double{v});
    for (const float v : l) mean += std::exp(double{v}) / z * v;
    kl += -mean - std::log(z) + std::log(z2);
    difference += -l[ids[t + 1]] - std::log(z) + std::log(z2);
  }
  // float32 logits within 1e-5, sums over 33 tokens.
  EXPECT_NEAR(found.windows.mean_kl(), kl / 33, 1e-5);
  EXPECT_NEAR(found.windows.nll_difference.value(), difference / 33, 1e-5);
  EXPECT_NEAR(found.windows.logits_error(), 1, 1e-5);
  EXPECT_EQ(found.windows.same_top.value(), 1);
  double drift = 0;
  for (const DriftBucket& bucket : found.drift) {
    for (const double value : bucket.divergence.kl) drift += value;
  }
  EXPECT_NEAR(drift / 33, kl / 33, 1e-4);
  EXPECT_GT(kl / 33, 1e-3) << "nothing was perturbed";
}

TEST(Compare, StartsWindowsAfreshAndReadsTheDriftInOnePiece) {
  const Model reference = tiny("tiny-siso"), model = sharpened(2);
  const auto ids = made_up_tokens(reference, 0, 81);
  const Comparison whole = compare(model, reference, ids, {.window = 80, .drift_tokens = 80});
  const Comparison cut = compare(model, reference, ids, {.window = 20, .max_windows = 3, .drift_tokens = 16});
  EXPECT_EQ(cut.windows.kl.size(), 60u);
  EXPECT_NEAR(cut.windows.kl[19], whole.windows.kl[19], 1e-5);
  EXPECT_GT(std::abs(cut.windows.kl[20] - whole.windows.kl[20]), 1e-4);
  EXPECT_NEAR(whole.drift.back().divergence.kl.back(), whole.windows.kl.back(), 1e-4);
}

TEST(Compare, RefusesWhatCannotBeCompared) {
  const Model model = tiny("tiny-siso");
  const auto ids = made_up_tokens(model, 0, 50);
  const auto refuses = [&](const Model& reference, const DivergenceOptions& options, const char* word) {
    try {
      compare(model, reference, ids, options);
      ADD_FAILURE() << word;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
  };
  refuses(model, {.window = 50, .drift_tokens = 0}, "a window of 50 needs at least 51");
  refuses(model, {.window = 10, .drift_tokens = 50}, "a drift run of 50 needs at least 51");
  refuses(model, {.window = 0}, "the window is 0");
  refuses(model, {.window = 10, .max_windows = 0}, "0 windows");
  refuses(model, {.window = 10, .drift_tokens = -1}, "the drift run is -1");
  refuses(sharpened(std::numeric_limits<float>::quiet_NaN()), {.window = 10, .drift_tokens = 0}, "norm_f");
  ModelConfig other = model.network().config();
  other.vocab_size *= 2;
  const Model wider(std::make_shared<const Network>(random_checkpoint(other, "wider", 0, DType::f32)));
  refuses(wider, {.window = 10, .drift_tokens = 0}, "the reference wider one of");
}

TEST(Compare, KnowsHowManyTokensItNeeds) {
  EXPECT_EQ(tokens_needed({.window = 10, .max_windows = 3, .drift_tokens = 4}), 31);
  EXPECT_EQ(tokens_needed({.window = 10, .max_windows = 3, .drift_tokens = 64}), 65);
  EXPECT_EQ(tokens_needed({.window = 1 << 30, .max_windows = std::int64_t{1} << 40, .drift_tokens = 4}),
            std::numeric_limits<std::int64_t>::max());
}

}  // namespace
}  // namespace mamba3
