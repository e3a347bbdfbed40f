// mamba3 tokenize and mamba3 detokenize: text to token ids and back.
#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "core/error.h"
#include "model/checkpoint.h"
#include "model/inspect.h"

namespace mamba3::cli {
namespace {

struct TokenizeOptions {
  std::string path;
  std::optional<std::string> text;
  std::vector<std::string> ids;
  std::string file = "-";
  bool skip_special = false, json = false;
};

Tokenizer tokenizer_of(const TokenizeOptions& options) {
  if (!options.path.empty()) return load_tokenizer(options.path);
  return parse_gguf_checkpoint(require_default_model(), kDefaultModelName).tokenizer.value();
}

void tokenize(const TokenizeOptions& options) {
  const std::string text = options.text ? *options.text : read_text(options.file);
  const auto ids = tokenizer_of(options).encode(text);
  if (options.json) {
    print_json(Json{{"ids", ids}});
  } else {
    print(fmt::format("{}\n", fmt::join(ids, " ")));
  }
}

/// Ids apart by blanks, commas or brackets.
std::vector<TokenId> parse_ids(const std::string& text) {
  constexpr std::string_view kBetween = " \t\r\n,[]";
  std::vector<TokenId> ids;
  for (auto at = text.find_first_not_of(kBetween); at != text.npos;) {
    const auto end = std::min(text.find_first_of(kBetween, at), text.size());
    TokenId id = 0;
    const auto [stop, error] = std::from_chars(&text[at], &text[0] + end, id);
    if (error != std::errc() || stop != &text[0] + end) {
      fail(ErrorCode::invalid_argument, "{:?} is no token id, expected integers",
           text.substr(at, std::min<std::size_t>(end - at, 40)));
    }
    ids.push_back(id);
    at = text.find_first_not_of(kBetween, end);
  }
  return ids;
}

void detokenize(const TokenizeOptions& options) {
  const auto ids = parse_ids(options.ids.empty() ? read_text(options.file)
                                                 : fmt::format("{}", fmt::join(options.ids, " ")));
  const std::string text = tokenizer_of(options).decode(ids, options.skip_special);
  if (options.json) {
    print_json(Json{{"text", text}});
  } else {
    print(text);
  }
}

constexpr const char* kWhose = "model folder, .gguf file or tokenizer.json";

}  // namespace

void add_tokenize(CLI::App& program) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App& command = *program.add_subcommand("tokenize", "Turns text into token ids");
  add_model_option(command, options->path, kWhose);
  auto* file = command.add_option("-f,--file", options->file, "file of the text, - for standard input")
                   ->option_text("FILE");
  command.add_option("text", options->text, "the text (default: standard input)")
      ->option_text("TEXT")
      ->excludes(file);
  add_json_flag(command, options->json);
  command.callback([options] { tokenize(*options); });
}

void add_detokenize(CLI::App& program) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App& command = *program.add_subcommand("detokenize", "Turns token ids into text");
  add_model_option(command, options->path, kWhose);
  auto* file = command.add_option("-f,--file", options->file, "file of the ids, - for standard input")
                   ->option_text("FILE");
  command.add_option("ids", options->ids, "the ids (default: standard input)")
      ->option_text("ID...")
      ->excludes(file);
  command.add_flag("--skip-special", options->skip_special, "leave special tokens out");
  add_json_flag(command, options->json);
  command.callback([options] { detokenize(*options); });
}

}  // namespace mamba3::cli
