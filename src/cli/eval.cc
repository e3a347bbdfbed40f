// mamba3 eval ppl: how well a model predicts a text. The other measures of `eval` have files of their own.
#include <memory>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/error.h"
#include "infer/evaluate.h"

namespace mamba3::cli {
namespace {

struct EvalOptions {
  ModelOptions model;
  std::string file;
  EvaluateOptions windows;
  bool json = false;
};

Json to_json(const Evaluation& e, const EvalOptions& options, const Model& model) {
  return {{"nll", e.nll()},
          {"ppl", e.ppl()},
          {"bits_per_byte", e.bits_per_byte()},
          {"tokens", e.tokens},
          {"tokens_per_s", e.tokens_per_s()},
          {"windows", e.windows},
          {"window", options.windows.window},
          {"bytes", e.bytes},
          {"seconds", e.seconds},
          {"model", model.name()},
          {"file", shown_path(options.file)}};
}

std::string to_text(const Evaluation& e) {
  return fmt::format(
      "NLL            {:.6f} nats a token\n"
      "perplexity     {:.4f}\n"
      "bits per byte  {:.5f}\n"
      "tokens         {} in {} windows\n"
      "rate           {:.0f} tokens/s\n",
      e.nll(), e.ppl(), e.bits_per_byte(), e.tokens, e.windows, e.tokens_per_s());
}

void eval_ppl(const EvalOptions& options) {
  const std::string text = read_text(options.file);
  // The weights are judged, not the rounding of activations, but where quantization is what is judged.
  // A GPU's float32 is many times slower than its bfloat16, which costs 1e-4 nats.
  const Model model = options.model.load(options.model.device == "cpu" ? Activations::exact_unless_quantized
                                                                       : Activations::rounded);
  Evaluation result;
  {
    Progress progress;
    result = evaluate(
        model, text, shown_path(options.file), options.windows, [&](const Evaluation& e, double fraction) {
          progress.show(fmt::format("{} windows, {:.0f}%, perplexity {:.4f}, {:.0f} tokens/s, done at {}",
                                    e.windows, 100 * fraction, e.ppl(), e.tokens_per_s(),
                                    end_time(e.seconds / fraction - e.seconds)));
        });
  }
  if (options.json) {
    print_json(to_json(result, options, model));
  } else {
    print(to_text(result));
  }
}

}  // namespace

void add_eval(CLI::App& program) {
  CLI::App& eval = *program.add_subcommand("eval", "Measures a model on a text");
  eval.require_subcommand(1);
  auto options = std::make_shared<EvalOptions>();
  CLI::App& ppl = *eval.add_subcommand("ppl", "Mean negative log likelihood, perplexity, bits per byte");
  options->model.add_to(ppl);
  ppl.add_option("-f,--file", options->file,
                 "text; documents stand apart by <|endoftext|> on a line of its own; - for standard input")
      ->option_text("FILE")
      ->required();
  ppl.add_option("--window", options->windows.window, "tokens predicted from a fresh state (default 1024)")
      ->option_text("N")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  ppl.add_option("--max-windows", options->windows.max_windows, "stop after so many windows (default: all)")
      ->option_text("N")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  add_json_flag(ppl, options->json);
  ppl.callback([options] { eval_ppl(*options); });
  add_eval_kl(eval);
}

}  // namespace mamba3::cli
