// Runs the built program and keeps what it says.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support.h"

extern char** environ;

namespace mamba3::test {

struct Finished {
  int exit = -1;  ///< minus the signal when one killed it
  std::string out, err;
};

/// One call of the program. Standard input is a file (empty by default), so that nothing waits for a
/// keyboard.
class Program {
 public:
  explicit Program(std::vector<std::string> arguments) : arguments_(std::move(arguments)) {}

  Program& input(std::string text) {
    input_ = std::move(text);
    return *this;
  }
  Program& output_to(std::string path) {  ///< "" closes it
    output_ = std::move(path);
    return *this;
  }

  /// Starts it; wait() gives the result.
  Program& start() {
    write_file(folder_ / "in", input_);
    const std::string out = output_.value_or((folder_ / "out").string());
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, (folder_ / "in").c_str(), O_RDONLY, 0);
    if (out.empty()) {
      posix_spawn_file_actions_addclose(&files, 1);
    } else {
      posix_spawn_file_actions_addopen(&files, 1, out.c_str(), O_WRONLY | O_CREAT, 0600);
    }
    posix_spawn_file_actions_addopen(&files, 2, (folder_ / "err").c_str(), O_WRONLY | O_CREAT, 0600);
    std::vector<char*> argv = {const_cast<char*>(MAMBA3_PROGRAM)};
    for (std::string& argument : arguments_) argv.push_back(argument.data());
    argv.push_back(nullptr);
    EXPECT_EQ(posix_spawn(&child_, MAMBA3_PROGRAM, &files, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&files);
    return *this;
  }

  Finished wait() {
    int status = 0;
    waitpid(child_, &status, 0);
    Finished result;
    result.exit = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    if (!output_) result.out = read_file(folder_ / "out");
    result.err = read_file(folder_ / "err");
    return result;
  }

  pid_t child() const { return child_; }
  std::string said() const { return read_file(folder_ / "out"); }  ///< so far, on standard output

 private:
  static void write_file(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }

  TemporaryFolder folder_;
  std::vector<std::string> arguments_;
  std::string input_;
  std::optional<std::string> output_;
  pid_t child_ = -1;
};

inline Finished run(std::vector<std::string> arguments, std::string input = {}) {
  return Program(std::move(arguments)).input(std::move(input)).start().wait();
}

/// Exit 1 (or `code`), nothing on standard output, and one sentence with these words on standard error.
inline void expect_refused(const Finished& result, const std::vector<std::string>& words, int code = 1) {
  EXPECT_EQ(result.exit, code) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(result.err.starts_with("mamba3: ")) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  for (const std::string& word : words) {
    EXPECT_NE(result.err.find(word), std::string::npos) << word << " in: " << result.err;
  }
}

}  // namespace mamba3::test
