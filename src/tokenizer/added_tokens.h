// Tokens that are found in the text before anything else: tokenizer.json's added_tokens.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mamba3/tokenizer.h"
#include "tokenizer/json_node.h"
#include "tokenizer/regex.h"

namespace mamba3 {

struct AddedToken {
  TokenId id;
  std::string content;  ///< plain text, not byte letters
  bool special;         ///< left out of decoded text on request
  bool single_word;     ///< only where no word character touches it
  bool lstrip;          ///< takes the white space before it along
  bool rstrip;          ///< and after it
  bool normalized;      ///< looked for after those that are not
};

/// `node`: the value of added_tokens. Ids are only known not to be negative. Throws Error(bad_format).
std::vector<AddedToken> read_added_tokens(const JsonNode& node);

/// A stretch of text: one added token, or (no id) text in between.
struct Segment {
  std::string_view text;
  std::optional<TokenId> id;
};

/// Finds a set of added tokens: leftmost first, the longest of those that start at one place.
class AddedTokenFinder {
 public:
  explicit AddedTokenFinder(std::vector<AddedToken> tokens);
  void split(std::string_view text, Matcher& matcher, std::vector<Segment>& segments) const;

 private:
  const AddedToken* longest_at(std::string_view text) const;
  bool touches_word(std::string_view text, Span match, Matcher& matcher) const;

  std::vector<AddedToken> tokens_;  // sorted by content: those with a common start stand together
  std::array<bool, 256> starts_{};  // first bytes
  Regex word_;                      // one character that belongs to words
};

}  // namespace mamba3
