// The tokens of a text's documents, made as they are asked for.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "mamba3/tokenizer.h"

namespace mamba3 {

/// Stands between the documents of a text.
inline constexpr std::string_view kDocumentSeparator = "\n<|endoftext|>\n";

/// The start token (when the tokenizer has one) and the ids of each document that is not empty, joined.
/// Tokenizer and text must outlive it.
class DocumentTokens {
 public:
  DocumentTokens(const Tokenizer& tokenizer, std::string_view text)
      : tokenizer_(tokenizer), size_(text.size()), rest_(text) {}

  /// The next `count` tokens, or fewer at the end; they stay until skip().
  std::span<const TokenId> peek(std::int64_t count);
  void skip(std::int64_t count);  ///< precondition: peek() gave as many

  double guess_remaining() const;  ///< tokens still to come, guessed from the bytes

 private:
  std::string_view take_document();
  void append(std::string_view document);

  const Tokenizer& tokenizer_;
  std::size_t size_;
  std::string_view rest_;
  std::vector<TokenId> ids_;
  double made_ = 0;
};

}  // namespace mamba3
