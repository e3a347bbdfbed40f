// mamba3 bench: how fast a model reads and writes on this machine.
#include <memory>
#include <optional>

#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/atomic_file.h"
#include "core/error.h"
#include "model/checkpoint.h"
#include "model/network.h"

namespace mamba3::cli {
namespace {

struct BenchOptions {
  ModelOptions model;
  std::string random, type = "bf16", plot;
  MeasureOptions measure;
  bool json = false;
};

Model model_of(const BenchOptions& options) {
  if (options.random.empty()) return options.model.load();
  options.model.apply();
  return Model::random(options.random, 0, options.type,
                       options.model.exact ? Activations::exact : Activations::rounded, options.model.device);
}

Agreement require_agreement(const Model& model) {
  const Agreement found = agreement_with_reference(model);
  if (found.holds()) return found;
  fail(ErrorCode::numeric,
       "the logits differ from the reference by {:.1e} (prefill) and {:.1e} (step), at most {:.1e} is "
       "allowed: "
       "nothing was measured",
       found.prefill_error, found.step_error, found.allowed);
}

std::string shown(const MeasureProgress& p) {
  std::string line = fmt::format("{}, {} of {} {}", p.stage, p.done, p.total, p.unit);
  if (p.done == 0) return line;
  const double rate = static_cast<double>(p.done) / p.seconds;
  return line + fmt::format(", {:.{}f} {}/s, done at {}", rate, rate < 10 ? 2 : 0, p.unit,
                            end_time(static_cast<double>(p.total - p.done) / rate));
}

void bench(const BenchOptions& options) {
  options.measure.check();
  std::optional<AtomicFile> plot;
  if (!options.plot.empty()) plot.emplace(options.plot);
  const Model model = model_of(options);
  options.measure.check_memory(model);
  BenchReport report{model, options.measure, {}, Workload::of(model.network().checkpoint()), {}};
  {
    Progress progress;
    progress.show("comparing with the reference");
    report.agreement = require_agreement(model);
    report.measured =
        measure(model, options.measure, [&](const MeasureProgress& p) { progress.show(shown(p)); });
  }
  if (options.json) {
    print_json(to_json(report));
  } else {
    print(to_text(report));
  }
  if (!plot) return;
  plot->write(to_svg(to_plot(report)));
  plot->commit();
}

constexpr std::int64_t kMost = 1'000'000'000;

void add_numbers(CLI::App& command, BenchOptions& options) {
  MeasureOptions& m = options.measure;
  const auto list = [&](const char* name, std::vector<std::int64_t>& values, std::int64_t least,
                        const char* what) {
    command.add_option(name, values, what)
        ->option_text("N[,N...]")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->check(CLI::Range(least, kMost));
  };
  const auto number = [&](const char* name, std::int64_t& value, const char* what) {
    command.add_option(name, value, what)->option_text("N")->check(CLI::Range(std::int64_t{1}, kMost));
  };
  list("-p,--prompt", m.prompts, 1, "lengths of prompts to read (default 512)");
  list("--prompt-batch", m.prompt_batches, 1, "prompts that are read at once (default 1)");
  number("-n,--tokens", m.decode_tokens, "tokens that each session writes (default 128)");
  list("--depth", m.depths, 0, "tokens that were read before (default 128)");
  list("--batch", m.batches, 1, "sessions that write at once (default 1)");
  number("--repeat", m.repeats, "rounds; the median counts (default 3)");
}

}  // namespace

void add_bench(CLI::App& program) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App& command = *program.add_subcommand(
      "bench", "Measures prefill and decode beside the machine's ceilings, after a check of the result");
  options->model.add_to(command);
  command.add_option("--random", options->random, "random weights of this shape in place of a model")
      ->option_text("NAME")
      ->excludes("--model");
  add_type_option(command, options->type, "type of the random matrices");
  add_numbers(command, *options);
  command.add_option("--plot", options->plot, "draw the rates over depth and batch into an SVG file")
      ->option_text("FILE");
  add_json_flag(command, options->json);
  command.footer("Shapes: " + fmt::format("{}", fmt::join(random_shapes(), ", ")));
  command.callback([options] { bench(*options); });
}

}  // namespace mamba3::cli
