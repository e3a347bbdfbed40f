// mamba3 run, on a tiny model of random weights.
#include <chrono>
#include <csignal>
#include <nlohmann/json.hpp>
#include <thread>

#include "program.h"
#include "tiny_model.h"

namespace mamba3 {
namespace {

using nlohmann::json;
using test::expect_refused;
using test::Finished;
using test::Program;
using test::TinyModel;

class RunTest : public testing::Test {
 protected:
  /// `run -m MODEL` and more.
  Finished run(std::vector<std::string> more, std::string input = {}) {
    more.insert(more.begin(), {"run", "-m", model_.path()});
    return test::run(std::move(more), std::move(input));
  }
  std::string file(const std::string& name) { return (folder_ / name).string(); }

  TinyModel model_;
  test::TemporaryFolder folder_;
};

TEST_F(RunTest, EchoesThePromptAndContinuesIt) {
  const Finished whole = run({"-p", "Hello", "-n", "20", "--seed", "3"});
  const Finished rest = run({"-p", "Hello", "-n", "20", "--seed", "3", "--no-echo"});
  EXPECT_EQ(whole.exit, 0);
  EXPECT_EQ(whole.out, "Hello" + rest.out);
  EXPECT_NE(whole.err.find("prompt: 6 tokens"), std::string::npos) << whole.err;  // with the start token
  EXPECT_NE(whole.err.find("first token after"), std::string::npos) << whole.err;
}

TEST_F(RunTest, TakesThePromptFromAFileAndFromStandardInput) {
  std::ofstream(file("prompt")) << "ab\n";
  const auto expected = run({"-p", "ab\n", "-n", "9", "--temp", "0"}).out;
  EXPECT_EQ(run({"-f", file("prompt"), "-n", "9", "--temp", "0"}).out, expected);
  EXPECT_EQ(run({"-f", "-", "-n", "9", "--temp", "0"}, "ab\n").out, expected);
  EXPECT_EQ(run({"-n", "9", "--temp", "0"}, "ab\n").out, expected);
}

TEST_F(RunTest, PrintsOneJsonObject) {
  const Finished result = run({"-p", "ab", "-n", "7", "--seed", "11", "--ignore-eos", "--json"});
  const json object = json::parse(result.out);
  EXPECT_EQ(object.at("prompt"), "ab");
  EXPECT_EQ(object.at("prompt_tokens"), 3);
  EXPECT_EQ(object.at("generated_tokens"), 7);
  EXPECT_EQ(object.at("ids").size(), 7u);
  EXPECT_EQ(object.at("stop"), "length");
  EXPECT_EQ(object.at("seed"), 11);
  EXPECT_GT(object.at("first_token_s"), 0.0);
}

TEST_F(RunTest, AnEmptyPromptStartsFromTheStartTokenAlone) {
  const json object = json::parse(run({"-p", "", "-n", "1", "--json"}).out);
  EXPECT_EQ(object.at("prompt_tokens"), 1);
}

TEST_F(RunTest, NoTokensOnlyReadsThePrompt) {
  const Finished result = run({"-p", "ab", "-n", "0"});
  EXPECT_EQ(result.exit, 0);
  EXPECT_EQ(result.out, "ab");
}

TEST_F(RunTest, GoesOnFromASavedStateAsIfNeverStopped) {
  const std::vector<std::vector<std::string>> samplings = {
      {"--temp", "0", "--ignore-eos"},
      {"--seed", "7", "--temp", "1.3", "--repeat-penalty", "1.2", "--repeat-last-n", "5", "--ignore-eos"},
      {"--seed", "8", "--temp", "2", "--top-k", "0", "--top-p", "1"},  // ends at an end token
      {"--seed", "9", "--temp", "3", "--top-k", "0", "--stop", "ab", "--stop", "q"}};
  for (const auto& sampling : samplings) {
    for (const char* first : {"0", "1", "40", "63"}) {
      auto whole = sampling, part = sampling;
      whole.insert(whole.end(), {"-p", "The", "-n", "100"});
      part.insert(part.end(), {"-p", "The", "-n", first, "--save-state", file("s")});
      const std::string rest = std::to_string(100 - std::stoi(first));
      std::string text = run(part).out;
      text += run({"--load-state", file("s"), "-n", rest}).out;
      EXPECT_EQ(text, run(whole).out) << first << " " << sampling[1];
    }
  }
}

TEST_F(RunTest, ReadsMoreAfterALoadedState) {
  run({"-p", "ab", "-n", "0", "--save-state", file("s")});
  const Finished result = run({"--load-state", file("s"), "-p", "cd", "-n", "5", "--temp", "0"});
  EXPECT_EQ(result.exit, 0) << result.err;
  EXPECT_NE(result.err.find("prompt: 2 tokens"), std::string::npos)
      << "no second start token: " << result.err;
  EXPECT_EQ("ab" + result.out, run({"-p", "abcd", "-n", "5", "--temp", "0"}).out);
}

TEST_F(RunTest, EndsBeforeAStopTextAndDoesNotPrintIt) {
  const std::string text = run({"-p", "x", "-n", "60", "--seed", "1", "--no-echo", "--ignore-eos"}).out;
  ASSERT_GT(text.size(), 20u);
  const std::string stop = text.substr(10, 3);
  const json object = json::parse(run({"-p", "x", "-n", "60", "--seed", "1", "--ignore-eos", "--stop",
                                       "no such", "--stop", stop, "--json"})
                                      .out);
  EXPECT_EQ(object.at("text"), text.substr(0, text.find(stop)));
  EXPECT_EQ(object.at("stop"), "stop");
}

TEST_F(RunTest, CtrlCEndsCleanlyAndSavesTheState) {
  Program program(
      {"run", "-m", model_.path(), "-p", "a", "-n", "-1", "--ignore-eos", "--save-state", file("s")});
  program.start();
  while (program.said().size() < 50) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  kill(program.child(), SIGINT);
  const Finished result = program.wait();
  EXPECT_EQ(result.exit, 130);
  EXPECT_NE(result.err.find("ended by interrupt"), std::string::npos) << result.err;
  EXPECT_EQ(run({"--load-state", file("s"), "-n", "3"}).exit, 0);
}

TEST_F(RunTest, RefusesWhatItCannotRead) {
  expect_refused(run({"-p", "a\xff"}), {"the prompt", "UTF-8"});
  expect_refused(run({}, "a\xff"), {"standard input", "UTF-8"});
  expect_refused(run({"-f", file("none")}), {file("none")});
  expect_refused(run({"-f", folder_.path().string()}), {folder_.path().string(), "directory"});
  expect_refused(run({"-p", "a", "--stop", ""}), {"stop"});
  expect_refused(run({"-p", "a", "--temp", "-1"}), {"temperature", "-1"});
  expect_refused(run({"-p", "a", "--temp", "nan"}), {"temperature"});
  expect_refused(run({"-p", "a", "--device", "cuda:99"}), {"cuda:99"});
}

TEST_F(RunTest, RefusesStatesThatDoNotFit) {
  run({"-p", "ab", "-n", "2", "--save-state", file("s")});
  const TinyModel other("tiny-mimo");
  expect_refused(test::run({"run", "-m", other.path(), "--load-state", file("s")}), {file("s"), "model"});
  const std::string state = test::read_file(file("s"));
  std::ofstream(file("cut"), std::ios::binary) << state.substr(0, state.size() / 2);
  expect_refused(run({"--load-state", file("cut")}), {file("cut")});
  expect_refused(run({"--load-state", file("none")}), {file("none")});
}

TEST_F(RunTest, SaysWhenTheDiskOrThePipeIsFull) {
  const auto to_full = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"run", "-m", model_.path(), "-p", "a"});
    return Program(std::move(more)).output_to("/dev/full").start().wait();
  };
  expect_refused(to_full({}), {"standard output", "no space left"});
  std::filesystem::create_symlink("/dev/full", file("full"));
  const Finished result = run({"-p", "a", "-n", "3", "--save-state", file("full")});
  EXPECT_EQ(result.exit, 1);
  EXPECT_NE(result.err.find("no space left"), std::string::npos) << result.err;
}

TEST(Run, RefusesAModelWithoutTokenizer) {
  expect_refused(test::run({"run", "-m", (test::fixtures() / "tiny-siso").string(), "-p", "a"}),
                 {"tiny-siso", "tokenizer"});
}

TEST(Run, RefusesFoldersThatAreNoModels) {
  const test::TemporaryFolder folder;
  expect_refused(test::run({"run", "-m", folder.path().string(), "-p", "a"}), {"config.json"});
  expect_refused(test::run({"run", "-m", (folder / "none").string(), "-p", "a"}), {"none"});
}

TEST(Run, ContinuesWithTheBuiltInModel) {
  const Finished result = test::run({"run", "-p", "Once upon a time", "-n", "8", "--temp", "0"});
  if (result.err.find("built without a default model") != std::string::npos) {
    GTEST_SKIP() << "the program was built without a default model";
  }
  EXPECT_EQ(result.exit, 0) << result.err;
  EXPECT_TRUE(result.out.starts_with("Once upon a time"));
  EXPECT_GT(result.out.size(), 20u);
}

}  // namespace
}  // namespace mamba3
