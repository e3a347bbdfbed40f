// Cuts text into the pieces inside which tokens are merged: tokenizer.json's pre_tokenizer.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/json_node.h"
#include "tokenizer/regex.h"

namespace mamba3 {

/// A text and the pieces it is cut into, in order. Working memory: kept between texts, one a thread.
struct Pieces {
  std::string_view text;
  std::vector<Span> spans;  ///< none of them empty

  void start(std::string_view whole);
  std::string_view operator[](std::size_t i) const {
    return text.substr(spans[i].begin, spans[i].end - spans[i].begin);
  }
  void replace_text();  ///< takes over next_text and next_spans

  std::string own_text;  ///< what `text` views once a step has rewritten it
  std::string next_text;
  std::vector<Span> next_spans;
};

/// Supports ByteLevel, Split, Digits, Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit and
/// Sequence.
class PreTokenizer {
 public:
  /// `node`: the value of pre_tokenizer. Throws Error(unsupported) for what is not built, by name, and when
  /// there is no ByteLevel in it: bytes are what this tokenizer merges.
  explicit PreTokenizer(const JsonNode& node);

  /// Cuts `text` (UTF-8). Throws Error when a regular expression meets its limits.
  void split(std::string_view text, Matcher& matcher, Pieces& pieces) const;

 private:
  enum class Behavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };
  struct Split {
    Regex regex;
    Behavior behavior;
    bool invert;
    void apply(Matcher& matcher, Pieces& pieces) const;
    void cut(std::string_view piece, std::size_t offset, Matcher& matcher, std::vector<Span>& spans) const;
  };
  struct PrefixSpace {
    void apply(Matcher& matcher, Pieces& pieces) const;
  };
  struct SpellBytes {
    void apply(Matcher& matcher, Pieces& pieces) const;
  };
  using Step = std::variant<Split, PrefixSpace, SpellBytes>;

  void add(const JsonNode& node);
  void add_byte_level(const JsonNode& node);
  void add_split(const JsonNode& node);
  static Behavior behavior_of(const JsonNode& node);

  std::vector<Step> steps_;
  bool spelled_ = false;  // a step spells the bytes, because others follow it
};

}  // namespace mamba3
