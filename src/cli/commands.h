// The commands, each in the file of its name.
#pragma once

#include <CLI/CLI.hpp>

namespace mamba3::cli {

/// Adds a command to the program; parsing its arguments runs it. Failures are thrown as mamba3::Error.
void add_run(CLI::App& program);
void add_eval(CLI::App& program);
void add_eval_kl(CLI::App& eval);
void add_tokenize(CLI::App& program);
void add_detokenize(CLI::App& program);
void add_info(CLI::App& program);
void add_convert(CLI::App& program);
void add_quantize(CLI::App& program);
void add_imatrix(CLI::App& program);
void add_bench(CLI::App& program);
void add_selftest(CLI::App& program);

/// Thrown by a command that has ended well with an exit code of its own.
struct Exit {
  int code;
};

inline constexpr int kFailed = 1;         ///< bad input or usage, a failed check, a refused write
inline constexpr int kInterrupted = 130;  ///< Ctrl-C

}  // namespace mamba3::cli
