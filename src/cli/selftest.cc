// mamba3 selftest: does this machine compute what it should?
#include "selftest/selftest.h"

#include <algorithm>
#include <iterator>
#include <memory>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/error.h"

namespace mamba3::cli {
namespace {

struct SelftestOptions {
  std::vector<std::string> files;
  std::string impl = "cpu", precision = "f32", models;
  bool json = false;
};

/// All the files in one report.
selftest::Report run_all(const SelftestOptions& options) {
  selftest::Options one{.impl = *selftest::impl_named(options.impl),
                        .precision = *selftest::precision_named(options.precision),
                        .goldens = {},
                        .models = options.models};
  Progress progress;
  const auto show = [&](const selftest::GoldenResult& result) { progress.show("done: " + result.file); };
  if (options.files.empty()) return selftest::run(one, show);
  selftest::Report whole{one.impl, one.precision, 0, {}};
  for (const std::string& file : options.files) {
    one.goldens = file;
    selftest::Report part = selftest::run(one, show);
    whole.seconds += part.seconds;
    std::ranges::move(part.goldens, std::back_inserter(whole.goldens));
  }
  return whole;
}

void selftest_command(const SelftestOptions& options) {
  const selftest::Report report = run_all(options);
  print(options.json ? selftest::to_json(report) + "\n" : selftest::to_text(report, /*every_tensor=*/true));
  if (report.passed()) return;
  const auto failed = std::ranges::count_if(report.goldens, [](const auto& g) { return !g.passed(); });
  say(fmt::format("mamba3: {} of {} goldens failed", failed, report.goldens.size()));
  throw Exit{kFailed};
}

}  // namespace

void add_selftest(CLI::App& program) {
  auto options = std::make_shared<SelftestOptions>();
  CLI::App& command = *program.add_subcommand("selftest", "Compares this machine's results with known ones");
  command.add_option("files", options->files, "goldens or folders of them (default: a small built-in set)")
      ->option_text("FILE...");
  CLI::Option* impl =
      command.add_option("--impl", options->impl, "implementation: reference, cpu or cuda (default cpu)")
          ->option_text("IMPL")
          ->check(CLI::IsMember({"reference", "cpu", "cuda"}));
  command.add_option("--device", options->impl, "the implementation of this device: cpu or cuda")
      ->option_text("DEVICE")
      ->check(CLI::IsMember({"cpu", "cuda"}))
      ->excludes(impl);
  command.add_option("--dtype", options->precision, "f64 (reference), f32, or bf16 (cpu, cuda); default f32")
      ->option_text("TYPE")
      ->check(CLI::IsMember({"f64", "f32", "bf16"}));
  command.add_option("--models", options->models, "folder of the checkpoints that model goldens name")
      ->option_text("DIR");
  add_json_flag(command, options->json);
  command.callback([options] { selftest_command(*options); });
}

}  // namespace mamba3::cli
