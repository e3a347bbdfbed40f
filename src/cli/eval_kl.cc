// mamba3 eval kl: what quantizing a model, or another way to compute it, changes in its predictions.
#include <algorithm>
#include <limits>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/error.h"
#include "core/utf8.h"
#include "infer/agreement.h"
#include "infer/divergence.h"
#include "infer/document_tokens.h"

namespace mamba3::cli {
namespace {

struct KlOptions {
  ModelOptions model;
  std::string reference;
  std::optional<std::string> file;
  std::int64_t made_up = 0;
  DivergenceOptions windows;
  bool json = false;
};

/// The one place where the reference of a comparison is loaded: its products are to be those of float32.
Model load_reference(const std::string& path) {
  return Model::load(path, Activations::exact);
}

std::vector<TokenId> text_tokens(const KlOptions& options, const Tokenizer& tokenizer) {
  const std::string text = read_text(*options.file);
  check_utf8(text, shown_path(*options.file));
  DocumentTokens source(tokenizer, text);
  const auto ids = source.peek(tokens_needed(options.windows));
  return {ids.begin(), ids.end()};
}

Json to_json(const Divergence& d) {
  return {{"tokens", d.kl.size()},
          {"kl",
           {{"mean", d.mean_kl()},
            {"median", quantile_of(d.kl, 0.5)},
            {"p99", quantile_of(d.kl, 0.99)},
            {"max", quantile_of(d.kl, 1)}}},
          {"same_top", d.same_top.value()},
          {"nll", d.nll.value()},
          {"reference_nll", d.reference_nll.value()},
          {"nll_difference", d.nll_difference.value()},
          {"nll_difference_error", d.nll_difference.standard_error()},
          {"logits_error", d.logits_error()}};
}

Json to_json(const Comparison& c, const KlOptions& options, const Model& model, const Model& reference) {
  Json json = to_json(c.windows);
  json["windows"] = c.window_count;
  json["window"] = options.windows.window;
  json["drift"] = Json::array();
  for (const DriftBucket& bucket : c.drift) {
    Json row = {{"first", bucket.first}, {"last", bucket.last}};
    row.update(to_json(bucket.divergence));
    json["drift"].push_back(row);
  }
  json["seconds"] = c.seconds;
  json["model"] = model.name();
  json["reference"] = reference.name();
  json["file"] = options.file ? Json(shown_path(*options.file)) : Json();
  return json;
}

std::string drift_text(const std::vector<DriftBucket>& drift) {
  if (drift.empty()) return {};
  constexpr const char* kRow = "{:<16} {:>10} {:>24} {:>10} {:>14}\n";
  std::string text = fmt::format("\n{} tokens of one text, read step by step\n", drift.back().last);
  text += fmt::format(kRow, "tokens", "KL", "NLL difference", "same top", "logits differ");
  for (const DriftBucket& bucket : drift) {
    const Divergence& d = bucket.divergence;
    text += fmt::format(
        kRow, fmt::format("{} to {}", bucket.first, bucket.last - 1), fmt::format("{:.6f}", d.mean_kl()),
        fmt::format("{:+.6f} +- {:.6f}", d.nll_difference.value(), d.nll_difference.standard_error()),
        fmt::format("{:.2f}%", 100 * d.same_top.value()), fmt::format("{:.1e}", d.logits_error()));
  }
  return text;
}

std::string to_text(const Comparison& c, const Model& model, const Model& reference) {
  const Divergence& d = c.windows;
  return fmt::format(
             "model           {}\n"
             "reference       {}\n"
             "KL divergence   mean {:.6f}, median {:.6f}, 99% {:.6f}, max {:.6f} nats a token\n"
             "same top token  {:.2f}%\n"
             "NLL             {:.6f}, reference {:.6f}, difference {:+.6f} +- {:.6f} nats a token\n"
             "logits          differ by {:.1e}\n"
             "tokens          {} in {} windows\n",
             model.name(), reference.name(), d.mean_kl(), quantile_of(d.kl, 0.5), quantile_of(d.kl, 0.99),
             quantile_of(d.kl, 1), 100 * d.same_top.value(), d.nll.value(), d.reference_nll.value(),
             d.nll_difference.value(), d.nll_difference.standard_error(), d.logits_error(), d.kl.size(),
             c.window_count) +
         drift_text(c.drift);
}

void eval_kl(const KlOptions& options) {
  if (!options.file && options.made_up == 0) {
    fail(ErrorCode::invalid_argument,
         "there is nothing to read: name a text with -f, or a number with --made-up");
  }
  const Model model = options.model.load();
  const Model reference = load_reference(options.reference);
  const auto ids =
      options.file ? text_tokens(options, reference.tokenizer()) : made_up_tokens(model, 0, options.made_up);
  Comparison result;
  {
    Progress progress;
    result = compare(
        model, reference, ids, options.windows, [&](std::int64_t tokens, std::int64_t total, double seconds) {
          const double rate = static_cast<double>(tokens) / seconds;
          progress.show(fmt::format("{} of {} tokens, {:.0f} tokens/s, done at {}", tokens, total, rate,
                                    end_time(static_cast<double>(total - tokens) / rate)));
        });
  }
  if (options.json) {
    print_json(to_json(result, options, model, reference));
  } else {
    print(to_text(result, model, reference));
  }
}

}  // namespace

void add_eval_kl(CLI::App& eval) {
  auto options = std::make_shared<KlOptions>();
  CLI::App& kl =
      *eval.add_subcommand("kl", "Divergence from a reference model, and its drift along a long text");
  options->model.add_to(kl);
  kl.add_option("--reference", options->reference,
                "model folder or .gguf file to compare with, computed in float32")
      ->option_text("PATH")
      ->required();
  auto* file = kl.add_option("-f,--file", options->file, "text, as for ppl; - for standard input")
                   ->option_text("FILE");
  const auto number = [&](const char* name, std::int64_t& value, std::int64_t least, const char* what) {
    return kl.add_option(name, value, what)
        ->option_text("N")
        ->check(CLI::Range(least, std::int64_t{1} << 30));
  };
  number("--made-up", options->made_up, 2,
         "made-up tokens in place of a text, for models without a tokenizer")
      ->excludes(file);
  number("--window", options->windows.window, 1, "tokens predicted from a fresh state (default 1024)");
  number("--max-windows", options->windows.max_windows, 1, "stop after so many windows (default: all)");
  number("--drift", options->windows.drift_tokens, 0, "tokens of the long run; 0: none (default 4096)");
  add_json_flag(kl, options->json);
  kl.callback([options] { eval_kl(*options); });
}

}  // namespace mamba3::cli
