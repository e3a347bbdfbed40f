// A command that is interrupted while it writes leaves the folder as it was.
#include <chrono>
#include <csignal>
#include <thread>

#include "program.h"

namespace mamba3 {
namespace {

using test::Finished;
using test::Program;
namespace fs = std::filesystem;

std::size_t files_in(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

using Interrupted = testing::TestWithParam<int>;

TEST_P(Interrupted, ConvertLeavesNoHalfFileAndTheOldOne) {
  const test::TemporaryFolder folder;
  const fs::path target = folder / "model.gguf";
  std::ofstream(target) << "old";
  // 750 MB to write: long enough to be met in the middle.
  Program program({"convert", "--random", "mamba3-siso-187m", "--type", "f32", target.string()});
  program.start();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (files_in(folder.path()) < 2 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(files_in(folder.path()), 2u) << "no temporary file was met";
  kill(program.child(), GetParam());
  const Finished result = program.wait();
  EXPECT_EQ(result.exit, -GetParam()) << result.err;
  EXPECT_EQ(test::read_file(target), "old");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

INSTANTIATE_TEST_SUITE_P(Signals, Interrupted, testing::Values(SIGINT, SIGTERM),
                         [](const auto& signal) { return std::string(sigabbrev_np(signal.param)); });

}  // namespace
}  // namespace mamba3
