// bench on small models.
#include <nlohmann/json.hpp>

#include "program.h"

namespace mamba3 {
namespace {

using nlohmann::json;
using test::expect_refused;
using test::Finished;
using test::run;

std::string tiny(const char* name) {
  return (test::fixtures() / name).string();
}

void expect_spread(const json& rate) {
  EXPECT_GT(rate.at("min"), 0.0);
  EXPECT_LE(rate.at("min"), rate.at("median"));
  EXPECT_LE(rate.at("median"), rate.at("max"));
}

TEST(Bench, ChecksAndMeasures) {
  const Finished result = run({"bench", "-m", tiny("tiny-mimo"), "-p", "40,9", "-n", "4", "--depth", "0,70",
                               "--batch", "1,3", "--repeat", "2", "--threads", "1", "--json"});
  ASSERT_EQ(result.exit, 0) << result.err;
  const json object = json::parse(result.out);
  const double allowed = object.at("allowed_error");
  EXPECT_LE(object.at("prefill_error"), allowed);
  EXPECT_LE(object.at("step_error"), allowed);
  EXPECT_LT(allowed, 2e-2);
  EXPECT_EQ(object.at("threads"), 1);
  EXPECT_EQ(object.at("type"), "BF16");

  const json& ceilings = object.at("ceilings");
  const double memory = ceilings.at("memory_bytes_per_s").at("median");
  EXPECT_GT(memory, 0.0);
  EXPECT_GE(ceilings.at("memory_bytes_per_s").at("best"), memory);
  const json& bf16 = ceilings.at("bf16_flops_per_s");
  const double matrix = (bf16.is_null() ? ceilings.at("f32_flops_per_s") : bf16).at("median");

  ASSERT_EQ(object.at("prefill").size(), 2u);
  EXPECT_EQ(object.at("prefill")[1].at("tokens"), 9);
  const double body = object.at("flops_per_prompt_token"), head = object.at("head_flops_per_prompt");
  for (const json& figure : object.at("prefill")) {
    expect_spread(figure.at("tokens_per_s"));
    const double flops = figure.at("flops_per_token"), tokens = figure.at("tokens");
    EXPECT_NEAR(flops, body + head / tokens, 1e-6 * flops);
    const double rate = figure.at("tokens_per_s").at("median"), share = figure.at("share_of_matrix_rate");
    EXPECT_NEAR(share, rate * flops / matrix, 1e-9 * share);
  }
  ASSERT_EQ(object.at("decode").size(), 4u);
  const double weights = object.at("weight_bytes_per_step"), state = object.at("state_bytes_per_step");
  for (const json& figure : object.at("decode")) {
    expect_spread(figure.at("tokens_per_s"));
    const double batch = figure.at("batch"), bytes = figure.at("bytes_per_token");
    EXPECT_NEAR(bytes, weights / batch + state, 1e-6 * bytes);
    const double rate = figure.at("tokens_per_s").at("median"),
                 share = figure.at("share_of_memory_bandwidth");
    EXPECT_NEAR(share, rate * bytes / memory, 1e-9 * share);
  }
  EXPECT_EQ(object.at("decode")[3].at("depth"), 70);
  EXPECT_EQ(object.at("decode")[3].at("batch"), 3);
}

TEST(Bench, WritesATableAndAPlot) {
  const test::TemporaryFolder folder;
  const std::string plot = (folder / "rates.svg").string();
  const Finished result = run({"bench", "-m", tiny("tiny-siso"), "-p", "9", "-n", "2", "--depth", "0,40",
                               "--batch", "1,2", "--repeat", "1", "--plot", plot});
  ASSERT_EQ(result.exit, 0) << result.err;
  for (const char* word : {"read bandwidth", "matrix rate", "  9 tokens", "  depth 40, batch 2", "allowed"}) {
    EXPECT_NE(result.out.find(word), std::string::npos) << word << " in: " << result.out;
  }
  const std::string svg = test::read_file(plot);
  for (const char* word :
       {"<svg ", "</svg>", "Decode over depth", "Decode over batch", "tokens/s", "tiny-siso"}) {
    EXPECT_NE(svg.find(word), std::string::npos) << word;
  }
}

TEST(Bench, TakesEveryTypeThatHasAProduct) {
  const std::string help = run({"bench", "--help"}).out;
  for (const std::string type :
       {"f32", "bf16", "f16", "q8_0", "q6_k", "q5_k", "q4_k", "q5_1", "q5_0", "q4_1", "q4_0"}) {
    EXPECT_NE(help.find(type), std::string::npos) << type;
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"bench"}, {"convert", "x.gguf"}}) {
      auto whole = command;  // the shape is looked up after the type
      whole.insert(whole.end(), {"--random", "no-such-shape", "--type", type});
      expect_refused(run(whole), {"no-such-shape: "});
    }
  }
  expect_refused(run({"bench", "--random", "no-such-shape", "--type", "Q4_K"}), {"no-such-shape: "});
  for (const char* type : {"f64", "u8", "q3_k", ""}) {
    expect_refused(run({"bench", "--random", "mamba3-siso-187m", "--type", type}), {"--type", "q4_k"});
  }
}

TEST(Bench, RefusesWhatItCannotMeasure) {
  const test::TemporaryFolder folder;
  expect_refused(run({"bench", "-m", tiny("bad/nan-weights-checkpoint")}), {"out_proj.weight"});
  expect_refused(run({"bench", "-n", "0"}), {"--tokens"});
  expect_refused(run({"bench", "-p", "512,0"}), {"--prompt", "0"});
  expect_refused(run({"bench", "--depth", "-1"}), {"--depth"});
  expect_refused(run({"bench", "--batch", "many"}), {"--batch", "many"});
  expect_refused(run({"bench", "--batch", "99999999999999999999"}), {"--batch"});
  expect_refused(run({"bench", "-m", tiny("tiny-siso"), "--batch", "1,1000000000"}),
                 {"a batch of 1000000000 sessions needs", "GB of memory are available"});
  const std::string nowhere = (folder / "none/rates.svg").string();
  expect_refused(run({"bench", "-m", tiny("tiny-siso"), "--plot", nowhere}), {"none/rates.svg"});
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace mamba3
