// mamba3 convert: a model in another format, or one of random weights.
#include <filesystem>
#include <memory>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "core/error.h"
#include "model/checkpoint.h"
#include "model/finite.h"

namespace mamba3::cli {
namespace {

namespace fs = std::filesystem;

struct ConvertOptions {
  std::vector<std::string> paths;
  std::string random, type = "bf16";
  std::uint64_t seed = 0;
  Layout layout = Layout::rows;
};

std::int64_t bytes_at(const fs::path& path) {
  if (!fs::is_directory(path)) {
    return fs::is_regular_file(path) ? static_cast<std::int64_t>(fs::file_size(path)) : 0;
  }
  std::int64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path))
    bytes += static_cast<std::int64_t>(entry.file_size());
  return bytes;
}

Checkpoint source_of(const ConvertOptions& options, DType type) {
  if (!options.random.empty()) return random_checkpoint(options.random, options.seed, type);
  Checkpoint checkpoint = load_checkpoint(options.paths.front());
  check_finite(checkpoint);
  return checkpoint;
}

void convert(const ConvertOptions& options) {
  const Progress clock;
  const fs::path target = options.paths.back();
  const DType type = type_named(options.type);
  const Checkpoint checkpoint = source_of(options, type);
  if (target.extension() == ".gguf") {
    save_gguf(checkpoint, target, type, options.layout);
  } else {
    save_folder(checkpoint, target, type);
  }
  say(fmt::format("wrote {}: {} tensors, {}, in {:.1f} s", target.string(), checkpoint.parameters.size(),
                  shown_bytes(static_cast<double>(bytes_at(target))), clock.seconds()));
}

}  // namespace

void add_convert(CLI::App& program) {
  auto options = std::make_shared<ConvertOptions>();
  CLI::App& command = *program.add_subcommand("convert", "Writes a model as GGUF or as an official folder");
  command
      .add_option("paths", options->paths,
                  "source (model folder or .gguf) and target (a name that ends in .gguf, else a new folder); "
                  "with --random the target alone")
      ->option_text("[SRC] DST")
      ->required();
  add_type_option(command, options->type,
                  "type of the matrices, all else is float32; below eight bits only with --random");
  add_layout_option(command, options->layout);
  auto* random = command.add_option("--random", options->random, "a model of this shape with random weights")
                     ->option_text("NAME");
  command.add_option("--seed", options->seed, "seed of the random weights (default 0)")
      ->option_text("N")
      ->needs(random);
  command.footer("Shapes: " + fmt::format("{}", fmt::join(random_shapes(), ", ")));
  command.callback([options] {
    const std::size_t expected = options->random.empty() ? 2 : 1;
    if (options->paths.size() != expected) {
      throw CLI::ValidationError(fmt::format("{} paths were given, expected {}", options->paths.size(),
                                             expected == 2 ? "SRC and DST" : "DST alone with --random"));
    }
    const DType type = type_named(options->type);
    if (options->random.empty() && is_quantized(type) && type != DType::q8_0) {
      throw CLI::ValidationError(
          fmt::format("--type {} is what mamba3 quantize makes of a model", options->type));
    }
    if (options->layout == Layout::tiles && fs::path(options->paths.back()).extension() != ".gguf") {
      throw CLI::ValidationError("--layout tiles is for a .gguf: a folder holds rows");
    }
    convert(*options);
  });
}

}  // namespace mamba3::cli
