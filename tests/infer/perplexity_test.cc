// The mean NLL of the reference models on held-out text, as the authors' code gives it.
#include <array>
#include <cstdio>
#include <memory>

#include "infer/evaluate.h"
#include "support.h"

namespace mamba3 {
namespace {

// The corpus is kept compressed; xz comes with ./dev's packages.
std::string unpack(const std::filesystem::path& path) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(("xz -dc '" + path.string() + "'").c_str(), "r"),
                                                   pclose);
  std::string text;
  std::array<char, 1 << 16> piece;
  for (std::size_t n; (n = fread(piece.data(), 1, piece.size(), pipe.get())) > 0;)
    text.append(piece.data(), n);
  return text;
}

struct Case {
  const char* model;
  std::int64_t windows;
  double nll, tolerance;
};

class Perplexity : public testing::TestWithParam<Case> {};

TEST_P(Perplexity, AgreesWithTheAuthors) {
  MAMBA3_NEEDS_TEST_DATA(data);
  const Case& c = GetParam();
  const std::string text = unpack(data / "corpus" / "valid.txt.xz");
  ASSERT_GT(text.size(), 4'000'000u);
  const Evaluation found = evaluate(Model::load(data / "models" / c.model, Activations::exact), text,
                                    "valid.txt.xz", {1024, c.windows});
  EXPECT_EQ(found.tokens, c.windows * 1024);
  EXPECT_NEAR(found.nll(), c.nll, c.tolerance);
}

// Goldens' README: float64 for 8 windows; for 400 float32, which the authors' bf16 products meet within 1e-4.
INSTANTIATE_TEST_SUITE_P(Valid, Perplexity,
                         testing::Values(Case{"classics-siso-20m", 8, 3.752799, 2e-5},
                                         Case{"classics-mimo-20m", 8, 3.952666, 2e-5}),
                         [](const auto& each) {
                           return std::string(each.param.model).substr(9, 4) + "8Windows";
                         });

// Minutes, not seconds: 409,600 tokens each.
INSTANTIATE_TEST_SUITE_P(Slow, Perplexity,
                         testing::Values(Case{"classics-siso-20m", 400, 3.7205, 2e-4},
                                         Case{"classics-mimo-20m", 400, 3.8890, 3e-4}),
                         [](const auto& each) {
                           return std::string(each.param.model).substr(9, 4) + "400Windows";
                         });

// What quantizing the default model costs.
TEST(Perplexity, TheDefaultModelIsNearItsOriginal) {
  MAMBA3_NEEDS_TEST_DATA(data);
  const std::string text = unpack(data / "corpus" / "valid.txt.xz");
  const EvaluateOptions options{1024, 40};
  const double original =
      evaluate(Model::load(data / "models" / "classics-siso-20m", Activations::exact), text, "valid", options)
          .nll();
  const auto path = test::fixtures().parent_path().parent_path() / "models" / "classics-siso-20m-q8_0.gguf";
  EXPECT_LE(std::filesystem::file_size(path), 23'000'000u);
  EXPECT_NEAR(evaluate(Model::load(path), text, "valid", options).nll(), original, 0.003);
}

}  // namespace
}  // namespace mamba3
