// The command `mamba3`.
#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <new>
#include <string>

#include "cli/commands.h"
#include "cli/output.h"
#include "core/temporaries.h"

namespace mamba3::cli {
namespace {

/// One sentence, whatever the library's message looks like.
int refuse(std::string message) {
  std::ranges::replace(message, '\n', ' ');
  say("mamba3: " + message);
  return kFailed;
}

void add_commands(CLI::App& program) {
  program.require_subcommand(0, 1);
  program.set_version_flag("--version", "mamba3 " MAMBA3_VERSION, "print the version");
  add_run(program);
  add_eval(program);
  add_tokenize(program);
  add_detokenize(program);
  add_info(program);
  add_convert(program);
  add_quantize(program);
  add_imatrix(program);
  add_bench(program);
  add_selftest(program);
}

int run_program(int argc, char** argv) {
  check_streams();
  CLI::App program("Runs Mamba-3 language models", "mamba3");
  add_commands(program);
  try {
    program.parse(argc, argv);
    if (program.get_subcommands().empty()) print(program.help());
  } catch (const CLI::CallForHelp&) {
    print(program.help());
  } catch (const CLI::CallForVersion& version) {
    print(std::string(version.what()) + "\n");
  } catch (const CLI::ParseError& error) {
    return refuse(error.what());
  }
  return 0;
}

}  // namespace
}  // namespace mamba3::cli

int main(int argc, char** argv) {
  using namespace mamba3::cli;
  std::signal(SIGPIPE, SIG_IGN);
  mamba3::remove_temporaries_on_signals();
  try {
    return run_program(argc, argv);
  } catch (const Exit& exit) {
    return exit.code;
  } catch (const std::bad_alloc&) {
    return refuse("there is not enough memory for this");
  } catch (const std::exception& error) {
    return refuse(error.what());
  }
}
