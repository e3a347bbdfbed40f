// eval kl on small models.
#include <cmath>
#include <nlohmann/json.hpp>

#include "program.h"
#include "tiny_model.h"

namespace mamba3 {
namespace {

using nlohmann::json;
using test::expect_refused;
using test::Finished;
using test::run;
using test::TinyModel;

const std::string kText =
    "Call me Ishmael. Some years ago, never mind how long precisely, having little money";

TEST(EvalKl, FindsNoDifferenceFromItself) {
  const TinyModel model;
  const Finished result = run({"eval", "kl", "-m", model.path(), "--reference", model.path(), "-f", "-",
                               "--window", "16", "--max-windows", "3", "--drift", "64", "--json", "--exact"},
                              kText);
  ASSERT_EQ(result.exit, 0) << result.err;
  const json object = json::parse(result.out);
  EXPECT_EQ(object.at("tokens"), 48);
  EXPECT_EQ(object.at("windows"), 3);
  EXPECT_EQ(object.at("kl").at("mean"), 0.0);
  EXPECT_EQ(object.at("kl").at("max"), 0.0);
  EXPECT_EQ(object.at("same_top"), 1.0);
  EXPECT_EQ(object.at("nll_difference"), 0.0);
  EXPECT_EQ(object.at("drift").size(), 8u);
  EXPECT_EQ(object.at("drift")[7].at("last"), 64);
  const json ppl = json::parse(
      run({"eval", "ppl", "-m", model.path(), "-f", "-", "--window", "16", "--max-windows", "3", "--json"},
          kText)
          .out);
  EXPECT_NEAR(object.at("nll"), ppl.at("nll"), 1e-5);
}

TEST(EvalKl, SeesQuantizedWeights) {
  const TinyModel model;
  const test::TemporaryFolder folder;
  const std::string quantized = (folder / "quantized.gguf").string();
  ASSERT_EQ(run({"convert", model.path(), quantized, "--type", "q8_0"}).exit, 0);
  const std::vector<std::string> command = {"eval", "kl", "-m",       quantized, "--reference", model.path(),
                                            "-f",   "-",  "--window", "32",      "--drift",     "40"};
  const Finished text = run(command, kText);
  ASSERT_EQ(text.exit, 0) << text.err;
  for (const char* word : {"KL divergence", "same top token", "NLL difference", "35 to 39"}) {
    EXPECT_NE(text.out.find(word), std::string::npos) << word << " in: " << text.out;
  }
  auto as_json = command;
  as_json.emplace_back("--json");
  const json object = json::parse(run(as_json, kText).out);
  EXPECT_GT(object.at("kl").at("mean"), 0.0);
  EXPECT_LE(object.at("kl").at("median"), object.at("kl").at("p99"));
  EXPECT_LE(object.at("kl").at("p99"), object.at("kl").at("max"));
  EXPECT_GT(object.at("logits_error"), 0.0);
  // Weights err by 2.2 / 127 / sqrt(12) (the largest of 32 normal values is 2.2 times their root mean square)
  // in 12 products: 1.7e-2. Twice that.
  EXPECT_LT(object.at("logits_error"), 3.4e-2);
  EXPECT_GT(object.at("same_top"), 0.8);
}

TEST(EvalKl, ReadsMadeUpTokensWithoutATokenizer) {
  const std::string model = (test::fixtures() / "tiny-mimo").string();
  const Finished result = run({"eval", "kl", "-m", model, "--reference", model, "--made-up", "65", "--window",
                               "32", "--drift", "0", "--json"});
  ASSERT_EQ(result.exit, 0) << result.err;
  EXPECT_EQ(json::parse(result.out).at("windows"), 2);
  EXPECT_TRUE(json::parse(result.out).at("drift").empty());
}

TEST(EvalKl, RefusesWhatItCannotCompare) {
  const TinyModel model;
  const std::string bare = (test::fixtures() / "tiny-siso").string();
  const auto compare = [&](const std::string& reference, std::vector<std::string> more,
                           const std::string& text) {
    std::vector<std::string> command = {"eval", "kl", "-m", model.path(), "--reference", reference};
    command.insert(command.end(), more.begin(), more.end());
    return run(command, text);
  };
  expect_refused(compare(model.path(), {"-f", "-", "--window", "8"}, "abc"), {"4 tokens", "9"});
  expect_refused(compare(model.path(), {"-f", "-", "--window", "2"}, "abc"), {"4 tokens", "drift", "4096"});
  expect_refused(compare(model.path(), {"-f", "-"}, "abc\xff"), {"UTF-8"});
  expect_refused(compare(model.path(), {}, ""), {"-f", "--made-up"});
  expect_refused(compare(model.path(), {"-f", "-", "--made-up", "9"}, ""), {"--file", "--made-up"});
  expect_refused(compare(bare, {"-f", "-"}, "abc"), {"tokenizer"});
  expect_refused(compare(bare + "/none", {"-f", "-"}, "abc"), {"none"});
  expect_refused(run({"eval", "kl", "-m", model.path(), "-f", "-"}), {"--reference"});
}

}  // namespace
}  // namespace mamba3
