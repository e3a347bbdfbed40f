// What the importance matrix of a small model is made of.
#include "infer/calibrate.h"

#include <cmath>

#include "core/error.h"
#include "core/threads.h"
#include "model/network.h"
#include "tiny_model.h"

namespace mamba3 {
namespace {

std::string letters(std::size_t count) {
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += static_cast<char>('a' + i * i % 26);
  return text;
}

class Calibrate : public testing::TestWithParam<const char*> {
 protected:
  const test::TinyModel files{GetParam()};
  const Model model = Model::load(files.path());
  const std::string text = letters(200);

  /// The mean squares of rows [tokens, width].
  static std::vector<double> mean_squares(const std::vector<float>& rows, std::int64_t width) {
    std::vector<double> sums(static_cast<std::size_t>(width));
    for (std::size_t i = 0; i < rows.size(); ++i) sums[i % sums.size()] += double{rows[i]} * rows[i];
    for (double& sum : sums) sum *= static_cast<double>(width) / static_cast<double>(rows.size());
    return sums;
  }
};

TEST_P(Calibrate, CountsTheTokensOfWholeChunks) {
  const ImportanceMatrix all = calibrate(model, text, "text", {.tokens = 64});
  EXPECT_EQ(all.chunks, 3);  // 200 letters and perhaps a start token
  EXPECT_EQ(all.dataset, "text");
  const auto matrices = product_matrices(model.network().checkpoint().parameters);
  EXPECT_EQ(all.entries.size(), matrices.size());
  for (const Parameter* p : matrices) {
    const auto& entry = all.entries.at(p->gguf);
    EXPECT_EQ(entry.tokens, 192) << p->name;
    EXPECT_EQ(std::ssize(entry.mean_squares), p->shape.back()) << p->name;
    for (const float value : entry.mean_squares) EXPECT_GE(value, 0) << p->name;
  }
  EXPECT_EQ(calibrate(model, text, "text", {.tokens = 64, .most = 2}).chunks, 2);
}

TEST_P(Calibrate, SeesTheHiddenVectorsBeforeTheHead) {
  const ImportanceMatrix found = calibrate(model, text, "text", {.tokens = 64, .most = 1});
  const Network& network = model.network();
  const auto ids = model.tokenizer().encode(text, false);
  std::vector<TokenId> read;
  if (const auto start = model.tokenizer().start_token()) read.push_back(*start);
  read.insert(read.end(), ids.begin(), ids.end());
  read.resize(64);
  NetworkState state = network.zero_state();
  Arena arena;
  const std::int64_t D = network.config().d_model;
  std::vector<float> last(static_cast<std::size_t>(D)), hidden;
  const auto keep = [&](const RowWindow& rows, const float* values) {
    hidden.assign(values + rows.begin * D, values + rows.end * D);
  };
  network.prefill(arena, read, state, last.data(), {.on_hidden = keep});
  const bool tied = network.config().tie_embeddings;
  const auto expected = mean_squares(hidden, D);
  const auto& entry = found.entries.at(tied ? "token_embd.weight" : "output.weight");
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(entry.mean_squares[i], expected[i], 1e-6 * expected[i]) << i;
}

TEST_P(Calibrate, SeesTheNormedEmbeddingBeforeTheFirstLayer) {
  const ImportanceMatrix found = calibrate(model, text, "text", {.tokens = 64, .most = 1});
  const auto& in = found.entries.at("blk.0.ssm_in.weight").mean_squares;
  const Checkpoint& c = model.network().checkpoint();
  if (!c.config.rms_norm) GTEST_SKIP() << "the sum below is RMSNorm's";
  std::vector<float> weight(in.size());
  to_float(c.tensor("layers.0.norm.weight").dtype, c.tensor("layers.0.norm.weight").bytes.data(),
           std::ssize(weight), weight.data());
  double sum = 0;  // each normed vector has d_model as its sum of squares before the weight
  for (std::size_t i = 0; i < in.size(); ++i) sum += in[i] / (double{weight[i]} * weight[i]);
  EXPECT_NEAR(sum / static_cast<double>(in.size()), 1, 0.02);  // but for epsilon in the norm
}

TEST_P(Calibrate, ThreadsDoNotMatter) {
  use_threads(1);
  const ImportanceMatrix one = calibrate(model, text, "text", {.tokens = 64});
  use_threads(3);
  const ImportanceMatrix three = calibrate(model, text, "text", {.tokens = 64});
  use_threads(0);
  for (const auto& [name, entry] : one.entries)
    EXPECT_EQ(entry.mean_squares, three.entries.at(name).mean_squares) << name;
}

TEST_P(Calibrate, RefusesShortTextsAndEmptyWindows) {
  EXPECT_THROW(calibrate(model, "abc", "text", {.tokens = 64}), Error);
  EXPECT_THROW(calibrate(model, text, "text", {.tokens = 0}), Error);
}

INSTANTIATE_TEST_SUITE_P(Models, Calibrate, testing::Values("tiny-siso", "tiny-mimo"),
                         [](const auto& name) { return std::string(name.param).substr(5); });

}  // namespace
}  // namespace mamba3
