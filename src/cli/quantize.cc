// mamba3 quantize: a model's matrices in fewer bits.
#include "model/quantize.h"

#include <filesystem>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/error.h"
#include "core/threads.h"
#include "model/finite.h"

namespace mamba3::cli {
namespace {

namespace fs = std::filesystem;

struct QuantizeCommand {
  std::string source, target, type, imatrix;
  int threads = 0;
  Layout layout = Layout::rows;
  bool allow_requantize = false, json = false;
};

struct Totals {
  std::int64_t bytes = 0, values = 0;

  explicit Totals(const std::vector<QuantizedTensor>& tensors) {
    for (const QuantizedTensor& t : tensors) {
      bytes += t.bytes;
      values += *checked_elements(t.shape);
    }
  }
  double bits_per_weight() const { return 8.0 * static_cast<double>(bytes) / static_cast<double>(values); }
};

Json to_json(const QuantizeCommand& command, const std::vector<QuantizedTensor>& tensors, double seconds) {
  const Totals totals(tensors);
  Json json = {{"path", command.target},
               {"type", command.type},
               {"bytes", totals.bytes},
               {"bits_per_weight", totals.bits_per_weight()},
               {"seconds", seconds}};
  if (!command.imatrix.empty()) json["imatrix"] = command.imatrix;
  for (const QuantizedTensor& t : tensors) {
    json["tensors"].push_back({{"name", t.name},
                               {"shape", t.shape},
                               {"from", name_of(t.from)},
                               {"to", name_of(t.to)},
                               {"wanted", name_of(t.wanted)},
                               {"bytes", t.bytes},
                               {"relative_rms", t.relative_rms}});
  }
  return json;
}

std::string to_text(const QuantizedTensor& t) {
  const std::string why = t.wanted == t.to ? ""
                                           : fmt::format("  ({} needs rows of {})", name_of(t.wanted),
                                                         block_of(t.wanted).elements);
  return fmt::format("{:<28} {:<16} {:>4} -> {:<4} {:>10}  rms {:.5f}{}\n", t.name,
                     fmt::format("[{}]", fmt::join(t.shape, ", ")), name_of(t.from), name_of(t.to),
                     shown_bytes(static_cast<double>(t.bytes)), t.relative_rms, why);
}

QuantizeProgress shown_on(Progress& line) {
  return [&line](std::int64_t done, std::int64_t all) {
    const auto part = static_cast<double>(done) / static_cast<double>(all);
    line.show(fmt::format("{:.0f}%, {:.1f} M values/s, done at {}", 100 * part,
                          1e-6 * static_cast<double>(done) / line.seconds(),
                          end_time(line.seconds() / part - line.seconds())));
  };
}

void quantize_model(const QuantizeCommand& command) {
  set_threads(command.threads);
  if (fs::path(command.target).extension() != ".gguf") {
    fail(ErrorCode::invalid_argument, "{}: quantize writes GGUF, expected a name that ends in .gguf",
         command.target);
  }
  const Checkpoint checkpoint = load_checkpoint(command.source);
  check_finite(checkpoint);
  QuantizeOptions options{.allow_requantize = command.allow_requantize, .layout = command.layout};
  std::optional<ImportanceMatrix> importance;
  if (!command.imatrix.empty()) {
    importance = load_importance(command.imatrix, checkpoint);
    options.importance = &*importance;
  }
  std::vector<QuantizedTensor> tensors;
  double seconds = 0;
  {
    Progress progress;
    tensors =
        quantize(checkpoint, command.target, recipe_named(command.type).value(), options, shown_on(progress));
    seconds = progress.seconds();
  }
  if (command.json) return print_json(to_json(command, tensors, seconds));
  std::string text;
  for (const QuantizedTensor& t : tensors) text += to_text(t);
  const Totals totals(tensors);
  print(text + fmt::format("\n{}: {} tensors, {}, {:.2f} bits a weight, in {:.1f} s\n", command.target,
                           tensors.size(), shown_bytes(static_cast<double>(totals.bytes)),
                           totals.bits_per_weight(), seconds));
}

}  // namespace

void add_quantize(CLI::App& program) {
  auto options = std::make_shared<QuantizeCommand>();
  CLI::App& command = *program.add_subcommand("quantize", "Writes a model with its matrices in fewer bits");
  command.add_option("source", options->source, "model folder or .gguf")->option_text("SRC")->required();
  command.add_option("target", options->target, "a name that ends in .gguf")->option_text("DST")->required();
  command.add_option("--type", options->type, fmt::format("{}", fmt::join(recipe_names(), ", ")))
      ->option_text("TYPE")
      ->required()
      ->transform(CLI::IsMember(recipe_names(), CLI::ignore_case));
  command.add_option("--imatrix", options->imatrix, "importance matrix of this model, from mamba3 imatrix")
      ->option_text("FILE");
  command.add_flag("--allow-requantize", options->allow_requantize,
                   "begin with matrices that are quantized already; their error stays");
  add_layout_option(command, options->layout);
  add_threads_option(command, options->threads);
  add_json_flag(command, options->json);
  command.callback([options] { quantize_model(*options); });
}

}  // namespace mamba3::cli
