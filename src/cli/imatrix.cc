// mamba3 imatrix: what a text makes of a model's inputs, for quantize.
#include <fmt/format.h>

#include <memory>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "infer/calibrate.h"

namespace mamba3::cli {
namespace {

struct ImatrixCommand {
  ModelOptions model;
  std::string file, output;
  CalibrateOptions chunks;
  bool json = false;
};

void make_imatrix(const ImatrixCommand& command) {
  const std::string text = read_text(command.file);
  const Model model = command.model.load();
  ImportanceMatrix matrix;
  double seconds = 0;
  {
    Progress progress;
    matrix = calibrate(
        model, text, shown_path(command.file), command.chunks, [&](std::int64_t tokens, double part) {
          const double spent = progress.seconds();
          progress.show(fmt::format("{} tokens, {:.0f}%, {:.0f} tokens/s, done at {}", tokens, 100 * part,
                                    static_cast<double>(tokens) / spent, end_time(spent / part - spent)));
        });
    seconds = progress.seconds();
  }
  save_importance(matrix, command.output);
  if (command.json) {
    print_json({{"path", command.output},
                {"model", model.name()},
                {"file", matrix.dataset},
                {"entries", matrix.entries.size()},
                {"chunks", matrix.chunks},
                {"chunk_tokens", matrix.chunk_tokens},
                {"seconds", seconds}});
  } else {
    print(fmt::format("{}: {} matrices, {} chunks of {} tokens, in {:.1f} s\n", command.output,
                      matrix.entries.size(), matrix.chunks, matrix.chunk_tokens, seconds));
  }
}

}  // namespace

void add_imatrix(CLI::App& program) {
  auto options = std::make_shared<ImatrixCommand>();
  CLI::App& command =
      *program.add_subcommand("imatrix", "Measures on a text which inputs matter, for quantize --imatrix");
  options->model.add_to(command);
  command
      .add_option("-f,--file", options->file,
                  "text; documents stand apart by <|endoftext|> on a line of its own; - for standard input")
      ->option_text("FILE")
      ->required();
  command.add_option("-o,--output", options->output, "where the matrix goes (GGUF, as llama.cpp's)")
      ->option_text("FILE")
      ->required();
  command
      .add_option("--window,--ctx-size", options->chunks.tokens,
                  "tokens read from a fresh state (default 512)")
      ->option_text("N")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  command
      .add_option("--max-windows,--chunks", options->chunks.most, "stop after so many windows (default: all)")
      ->option_text("N")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40));
  add_json_flag(command, options->json);
  command.callback([options] { make_imatrix(*options); });
}

}  // namespace mamba3::cli
