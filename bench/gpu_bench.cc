// Every figure of the CUDA backend, in one table: a check of the result, then times beside the targets and
// the device's ceilings. Exit status 1: a row failed.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <regex>

#include "bench/report.h"
#include "core/device_info.h"
#include "core/error.h"
#include "ops/ceiling/ceiling_cuda.h"

namespace mamba3::bench {
namespace {

struct Options {
  std::string only = ".*";
  bool json = false, list = false, deep = false, exact = false;
  std::string first_token;
};

std::vector<Row> chosen_rows(const std::string& only) {
  std::vector<Row> all, chosen;
  add_scan_rows(all);
  add_step_rows(all);
  add_layer_rows(all);
  add_model_rows(all);
  const std::regex pattern(only);
  for (Row& row : all) {
    if (std::regex_search(row.name, pattern)) chosen.push_back(std::move(row));
  }
  if (chosen.empty()) fail(ErrorCode::invalid_argument, "--only {}: no row has such a name", only);
  return chosen;
}

Line run_row(const Row& row, Workshop& shop) {
  shop.say(row.what);
  Line line{.row = &row};
  try {
    line.found = row.measure(shop);
  } catch (const std::exception& error) {
    line.failure = error.what();
  }
  return line;
}

void print(const std::string& text) {
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
}

int run(const Options& options) {
  if (!options.first_token.empty()) return print_first_token(options.first_token), 0;
  const std::vector<Row> rows = chosen_rows(options.only);
  if (options.list) {
    for (const Row& row : rows) print(fmt::format("{:<24} {}\n", row.name, row.what));
    return 0;
  }
  check_device({Device::cuda, 0});
  cuda::use_device(0);
  Workshop shop(options.deep, options.exact);
  shop.say("measuring the device's ceilings");
  const Machine machine{cuda::cuda_info().devices.front().name, cuda::copy_bandwidth(),
                        cuda::read_bandwidth(), cuda::bf16_matrix_rate()};
  if (!options.json) print(heading(machine));
  std::vector<Line> lines;
  for (const Row& row : rows) {
    lines.push_back(run_row(row, shop));
    if (!options.json) print(to_text(lines.back(), machine));
  }
  if (options.json) print(to_json(lines, machine));
  return std::ranges::any_of(lines, failed) ? 1 : 0;
}

int start(int argc, char** argv) {
  Options options;
  CLI::App program("Measures the CUDA backend beside its targets and the device's ceilings", "gpu_bench");
  program.add_option("--only", options.only, "rows whose names match this regular expression")
      ->option_text("REGEX");
  program.add_flag("--json", options.json, "print one JSON object");
  program.add_flag("--list", options.list, "print the names of the rows");
  program.add_flag("--deep", options.deep, "really read a million tokens before timing steps there");
  program.add_flag("--exact", options.exact, "whole models in float32 (the targets are for the fast path)");
  program.add_option("--first-token", options.first_token, "load a model, read a prompt, write a token")
      ->option_text("FILE");
  try {
    program.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return program.exit(error);
  }
  try {
    return run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "gpu_bench: {}\n", error.what());
    return 1;
  }
}

}  // namespace
}  // namespace mamba3::bench

int main(int argc, char** argv) {
  return mamba3::bench::start(argc, argv);
}
