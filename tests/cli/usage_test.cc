// What every command has in common: help, versions, bad usage, closed streams.
#include <unistd.h>

#include "program.h"

namespace mamba3 {
namespace {

using test::expect_refused;
using test::Finished;
using test::Program;

const std::vector<std::vector<std::string>> kCommands = {
    {"run"},  {"eval"},    {"eval", "ppl"}, {"eval", "kl"}, {"tokenize"}, {"detokenize"},
    {"info"}, {"convert"}, {"quantize"},    {"imatrix"},    {"bench"},    {"selftest"}};

TEST(Usage, SaysItsVersion) {
  const Finished result = test::run({"--version"});
  EXPECT_EQ(result.exit, 0);
  EXPECT_EQ(result.out, "mamba3 " MAMBA3_VERSION "\n");
}

TEST(Usage, HelpsWithEveryCommand) {
  for (auto command : kCommands) {
    const std::string name = command.back();
    EXPECT_NE(test::run({}).out.find(command.front()), std::string::npos);
    command.emplace_back("--help");
    const Finished result = test::run(command);
    EXPECT_EQ(result.exit, 0);
    EXPECT_EQ(result.err, "");
    EXPECT_NE(result.out.find(name + " ["), std::string::npos) << result.out;
  }
}

TEST(Usage, RefusesWhatItDoesNotKnow) {
  for (auto command : kCommands) {
    command.emplace_back("--no-such-option");
    expect_refused(test::run(command), {});
  }
  expect_refused(test::run({"--no-such-option"}), {"--no-such-option"});
  expect_refused(test::run({"no-such-command"}), {"no-such-command"});
  expect_refused(test::run({"run", "-p", "a", "-f", "b"}), {"--prompt", "--file"});
  expect_refused(test::run({"run", "-p", "a", "-n", "-2"}), {"--tokens"});
  expect_refused(test::run({"run", "-p", "a", "-n", "many"}), {"--tokens", "many"});
}

TEST(Usage, RefusesMoreThreadsThanProcessors) {
  const std::vector<std::vector<std::string>> commands = {
      {"run", "-p", "a"}, {"eval", "ppl", "-f", "-"}, {"bench", "-p", "4", "-n", "1"}};
  for (auto command : commands) {
    for (const std::string wrong : {"9999", "-1"}) {
      auto whole = command;
      whole.insert(whole.end(), {"--threads", wrong});
      expect_refused(test::run(whole), {"threads is " + wrong, "expected 0 to"});
    }
  }
}

TEST(Usage, NeedsSomewhereToWrite) {
  const Finished closed = Program({"--help"}).output_to("").start().wait();
  expect_refused(closed, {"standard output is closed"});
  const Finished full = Program({"--help"}).output_to("/dev/full").start().wait();
  expect_refused(full, {"standard output", "no space left"});
}

TEST(Usage, ABrokenPipeIsOneSentence) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  close(ends[0]);
  const Finished result =
      Program({"--help"}).output_to("/proc/self/fd/" + std::to_string(ends[1])).start().wait();
  close(ends[1]);
  expect_refused(result, {"standard output", "broken pipe"});
}

}  // namespace
}  // namespace mamba3
