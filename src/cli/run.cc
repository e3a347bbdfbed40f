// mamba3 run: continues a text.
#include <unistd.h>

#include <csignal>
#include <memory>
#include <optional>
#include <random>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "core/error.h"
#include "core/utf8.h"
#include "infer/generate.h"

namespace mamba3::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;
struct sigaction end_at_once {};

/// The first Ctrl-C ends the text cleanly, a second one the program at once.
void watch_for_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) {
    interrupted = 1;
    sigaction(SIGINT, &end_at_once, nullptr);
  };
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &end_at_once);
}

/// What was not given comes from the loaded state, else from the defaults.
struct Given {
  std::optional<float> temperature, top_p, min_p, repeat_penalty;
  std::optional<std::int64_t> top_k, repeat_last;
  std::optional<std::uint64_t> seed;
  std::vector<std::string> stop;
  bool ignore_end = false;

  void change(GenerateOptions& options) const {
    SamplerOptions& s = options.sampling;
    s.temperature = temperature.value_or(s.temperature);
    s.top_k = top_k.value_or(s.top_k);
    s.top_p = top_p.value_or(s.top_p);
    s.min_p = min_p.value_or(s.min_p);
    s.repeat_penalty = repeat_penalty.value_or(s.repeat_penalty);
    s.repeat_last = repeat_last.value_or(s.repeat_last);
    s.seed = seed.value_or(s.seed);
    if (!stop.empty()) options.stop = stop;
    options.ignore_end = options.ignore_end || ignore_end;
  }
};

struct RunOptions {
  ModelOptions model;
  std::optional<std::string> prompt, file;
  std::int64_t tokens = 128;
  Given given;
  bool no_echo = false, json = false;
  std::string load_state, save_state;
};

/// Nothing when a loaded state goes on without new text.
std::optional<std::string> prompt_of(const RunOptions& options) {
  if (options.prompt) {
    check_utf8(*options.prompt, "the prompt");
    return options.prompt;
  }
  if (!options.file && !options.load_state.empty()) return std::nullopt;
  const std::string file = options.file.value_or("-");
  if (file == "-" && isatty(STDIN_FILENO) == 1) say("reading the prompt from the keyboard until Ctrl-D");
  std::string text = read_text(file);
  check_utf8(text, shown_path(file));
  return text;
}

Generator make_generator(const RunOptions& options, const Model& model) {
  if (!options.load_state.empty()) {
    Generator generator = Generator::load(model, options.load_state);
    GenerateOptions changed = generator.options();
    options.given.change(changed);
    generator.set_options(std::move(changed));
    return generator;
  }
  GenerateOptions fresh;
  fresh.sampling.seed = std::random_device()();
  options.given.change(fresh);
  return {Session(model), std::move(fresh)};
}

Json to_json(const Generator& generator, const std::string& prompt, const std::string& text,
             StopReason reason, const Model& model) {
  const auto& s = generator.statistics();
  return {{"text", text},
          {"prompt", prompt},
          {"ids", s.ids},
          {"prompt_tokens", s.prompt_tokens},
          {"generated_tokens", s.ids.size()},
          {"stop", name_of(reason)},
          {"prompt_tokens_per_s", s.prompt_rate()},
          {"decode_tokens_per_s", s.decode_rate()},
          {"first_token_s", s.first_token_second},
          {"seed", generator.options().sampling.seed},
          {"model", model.name()}};
}

void say_statistics(const Generator& generator, StopReason reason) {
  const auto& s = generator.statistics();
  if (isatty(STDOUT_FILENO) == 1) say("");
  say(
      fmt::format("prompt: {} tokens, {:.0f} tokens/s; generated: {} tokens, {:.0f} tokens/s; "
                  "first token after {:.3f} s; seed {}; ended by {}",
                  s.prompt_tokens, s.prompt_rate(), s.ids.size(), s.decode_rate(), s.first_token_second,
                  generator.options().sampling.seed, name_of(reason)));
}

void run(const RunOptions& options) {
  const auto prompt = prompt_of(options);
  const Model model = options.model.load();
  Generator generator = make_generator(options, model);
  watch_for_interrupt();

  std::string text;
  const auto sink = [&](std::string_view piece) {
    if (options.json) {
      text += piece;
    } else {
      print(piece);
    }
  };
  if (prompt) {
    sink(generator.read(*prompt));
    if (!options.no_echo && !options.json) print(*prompt);
  }
  const StopReason reason = generator.run(options.tokens, sink, [] { return interrupted != 0; });
  if (options.save_state.empty()) {
    sink(generator.finish());
  } else {
    generator.save(options.save_state);
  }
  if (options.json) print_json(to_json(generator, prompt.value_or(""), text, reason, model));
  say_statistics(generator, reason);
  if (reason == StopReason::interrupt) throw Exit{kInterrupted};
}

void add_sampling(CLI::App& command, Given& given) {
  const auto number = [&](const char* name, auto& value, const char* what) {
    command.add_option(name, value, what)->option_text("N")->group("Choosing tokens");
  };
  number("--temp", given.temperature, "temperature; 0 takes the likeliest token (default 0.8)");
  number("--top-k", given.top_k, "keep the N likeliest tokens; 0: all (default 40)");
  number("--top-p", given.top_p, "keep the likeliest tokens that sum to N; 1: all (default 0.95)");
  number("--min-p", given.min_p, "keep tokens at least N times as likely as the likeliest (default 0.05)");
  number("--repeat-penalty", given.repeat_penalty, "make recent tokens less likely; 1: not (default 1)");
  number("--repeat-last-n", given.repeat_last, "how many tokens are recent (default 64)");
  number("--seed", given.seed, "seed of the draws (default: another one each time)");
}

void add_ending(CLI::App& command, RunOptions& options) {
  command.add_option("-n,--tokens", options.tokens, "tokens to write; -1: until the text ends (default 128)")
      ->option_text("N")
      ->check(CLI::Range(std::int64_t{-1}, std::int64_t{1} << 40));
  command.add_option("--stop", options.given.stop, "end before this text; can be given several times")
      ->option_text("TEXT")
      ->allow_extra_args(false);
  command.add_flag("--ignore-eos", options.given.ignore_end, "go on after a token that ends a text");
}

}  // namespace

void add_run(CLI::App& program) {
  auto options = std::make_shared<RunOptions>();
  CLI::App& command = *program.add_subcommand("run", "Continues a text");
  options->model.add_to(command);
  auto* file = command.add_option("-f,--file", options->file, "file of the prompt, - for standard input")
                   ->option_text("FILE");
  command.add_option("-p,--prompt", options->prompt, "the prompt (default: standard input)")
      ->option_text("TEXT")
      ->excludes(file);
  add_ending(command, *options);
  add_sampling(command, options->given);
  command.add_flag("--no-echo", options->no_echo, "do not print the prompt first");
  add_json_flag(command, options->json);
  command.add_option("--save-state", options->save_state, "write the state at the end to a file")
      ->option_text("FILE");
  command.add_option("--load-state", options->load_state, "go on from a saved state")->option_text("FILE");
  command.callback([options] { run(*options); });
}

}  // namespace mamba3::cli
