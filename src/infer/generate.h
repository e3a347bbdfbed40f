// Reading a text and going on with it: the loop around a session, from text to text.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "infer/stop_filter.h"
#include "mamba3/sampler.h"
#include "mamba3/session.h"

namespace mamba3 {

struct GenerateOptions {
  SamplerOptions sampling;
  std::vector<std::string> stop;  ///< texts that end the continuation and are not part of it
  bool ignore_end = false;        ///< go on after the tokenizer's end tokens

  /// Throws Error(invalid_argument): a stop text must be UTF-8 and not empty; sampling as
  /// SamplerOptions::check.
  void check() const;
};

enum class StopReason { length, end, stop, interrupt };
std::string_view name_of(StopReason reason);  ///< "length", "end", "stop", "interrupt"

/// Where text goes: whole characters, in order.
using TextSink = std::function<void(std::string_view text)>;

/// A session, its sampler and the text that is on its way. Needs a model with a tokenizer.
class Generator {
 public:
  Generator(Session session, GenerateOptions options);

  /// Goes on from a file of save(), or of Session::save without a note (then with default options). With the
  /// same options the text is the one that an uninterrupted run gives. Throws Error as Session::load does,
  /// and Error(bad_format) for a note that is not of this class.
  static Generator load(const Model& model, const std::filesystem::path& path);

  const GenerateOptions& options() const { return options_; }
  void set_options(GenerateOptions options);  ///< counts of draws and recent tokens stay

  /// Reads a text with one prefill: the tokenizer's start token when nothing was read before, and its tokens
  /// without the template. Gives text of the continuation before it that was still held back.
  std::string read(std::string_view text);

  /// Up to `tokens` more tokens (any number when negative), until one ends the text or `interrupted` says so.
  /// A text that has ended goes on only after more is read.
  StopReason run(std::int64_t tokens, const TextSink& sink, const std::function<bool()>& interrupted = {});

  /// What is held back when no more will come: a beginning of a stop text, U+FFFD for half a character.
  std::string finish();

  /// Everything that load() needs, after reading the last token. Atomic.
  void save(const std::filesystem::path& path);

  struct Statistics {
    std::int64_t prompt_tokens = 0;
    double prompt_seconds = 0;
    std::vector<TokenId> ids;       ///< generated
    double decode_seconds = 0;      ///< from the first of them to the last
    double first_token_second = 0;  ///< since the start of the process; 0 when there is none

    double prompt_rate() const;  ///< tokens a second
    double decode_rate() const;  ///< of the tokens after the first; 0 when there are none
  };
  const Statistics& statistics() const { return statistics_; }

 private:
  std::string note() const;
  void resume(const std::string& note, const std::string& where);
  void read_last();
  TokenId draw();
  TokenId next();
  bool is_end(TokenId id) const;

  Session session_;
  GenerateOptions options_;
  Sampler sampler_;
  TextStream stream_;
  StopFilter filter_;
  std::vector<TokenId> end_tokens_;
  std::int64_t words_;             // ids that have text
  std::optional<TokenId> unread_;  // the last token, when the session has not read it yet
  std::optional<StopReason> ended_;
  Statistics statistics_;
  std::chrono::steady_clock::time_point first_token_;
};

}  // namespace mamba3
