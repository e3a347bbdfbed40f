// mamba3 bench: how fast a model reads and writes on this machine.
#include <memory>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/error.h"
#include "infer/measure.h"
#include "infer/process.h"
#include "model/checkpoint.h"

namespace mamba3::cli {
namespace {

struct BenchOptions {
  ModelOptions model;
  std::string random, type = "bf16";
  MeasureOptions measure;
  bool json = false;
};

Model model_of(const BenchOptions& options) {
  if (options.random.empty()) return options.model.load();
  options.model.apply();
  return Model::random(options.random, 0, options.type);
}

void require(const Agreement& agreement) {
  if (agreement.holds()) return;
  fail(ErrorCode::numeric,
       "the logits differ from the reference by {:.1e} (prefill) and {:.1e} (step), at most {:.1e} is "
       "allowed: "
       "nothing was measured",
       agreement.prefill_error, agreement.step_error, kAllowedLogitsError);
}

Json to_json(const std::vector<double>& rates) {
  const Spread spread = spread_of(rates);
  return {{"median", spread.median}, {"min", spread.least}, {"max", spread.most}};
}

Json to_json(const BenchOptions& options, const Model& model, const Agreement& agreement,
             const Rates& rates) {
  return {{"model", model.name()},
          {"prompt_tokens", options.measure.prompt_tokens},
          {"decode_tokens", options.measure.decode_tokens},
          {"prefill_tokens_per_s", to_json(rates.prefill)},
          {"decode_tokens_per_s", to_json(rates.decode)},
          {"prefill_error", agreement.prefill_error},
          {"step_error", agreement.step_error},
          {"allowed_error", kAllowedLogitsError},
          {"checked_tokens", agreement.tokens},
          {"state_bytes", model.state_bytes()},
          {"threads", threads()},
          {"processor", processor_name()},
          {"peak_memory_bytes", peak_memory_bytes()}};
}

std::string rate_row(const std::string& name, const std::vector<double>& rates) {
  const Spread s = spread_of(rates);
  return fmt::format("{:<18} {:.1f} tokens/s ({:.1f} to {:.1f})\n", name, s.median, s.least, s.most);
}

std::string to_text(const BenchOptions& options, const Model& model, const Agreement& agreement,
                    const Rates& rates) {
  return fmt::format(
      "model              {}\n"
      "processor          {}, {} threads\n"
      "check              {} tokens: prefill differs by {:.1e}, steps by {:.1e}, {:.1e} allowed\n"
      "{}{}"
      "state              {} a session\n"
      "peak memory        {} (the reference of the check included)\n",
      model.name(), processor_name(), threads(), agreement.tokens, agreement.prefill_error,
      agreement.step_error, kAllowedLogitsError,
      rate_row(fmt::format("prefill of {}", options.measure.prompt_tokens), rates.prefill),
      rate_row(fmt::format("decode of {}", options.measure.decode_tokens), rates.decode),
      shown_bytes(static_cast<double>(model.state_bytes())),
      shown_bytes(static_cast<double>(peak_memory_bytes())));
}

void bench(const BenchOptions& options) {
  options.measure.check();
  const Model model = model_of(options);
  Agreement agreement;
  Rates rates;
  {
    Progress progress;
    progress.show("comparing with the reference");
    agreement = agreement_with_reference(model);
    require(agreement);
    rates =
        measure(model, options.measure, [&](std::string_view stage) { progress.show(std::string(stage)); });
  }
  if (options.json) {
    print_json(to_json(options, model, agreement, rates));
  } else {
    print(to_text(options, model, agreement, rates));
  }
}

}  // namespace

void add_bench(CLI::App& program) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App& command =
      *program.add_subcommand("bench", "Measures prefill and decode, after a check of the result");
  options->model.add_to(command);
  command.add_option("--random", options->random, "random weights of this shape in place of a model")
      ->option_text("NAME")
      ->excludes("--model");
  add_type_option(command, options->type, "type of the random matrices");
  const auto number = [&](const char* name, std::int64_t& value, const char* what) {
    command.add_option(name, value, what)
        ->option_text("N")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1'000'000'000}));
  };
  number("-p,--prompt", options->measure.prompt_tokens, "tokens to read (default 512)");
  number("-n,--tokens", options->measure.decode_tokens, "tokens to write (default 128)");
  number("--repeat", options->measure.repeats, "rounds; the median counts (default 3)");
  add_json_flag(command, options->json);
  command.footer("Shapes: " + fmt::format("{}", fmt::join(random_shapes(), ", ")));
  command.callback([options] { bench(*options); });
}

}  // namespace mamba3::cli
