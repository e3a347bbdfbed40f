// A text of many documents as one stream of tokens.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "mamba3/tokenizer.h"

namespace mamba3 {

/// Stands between the documents of a text.
inline constexpr std::string_view kDocumentSeparator = "\n<|endoftext|>\n";

/// The tokens of a text's documents, made as they are asked for.
class DocumentTokens {
 public:
  DocumentTokens(const Tokenizer& tokenizer, std::string_view text)
      : tokenizer_(tokenizer), size_(text.size()), rest_(text) {}

  /// The next `count` tokens, or fewer at the end; they stay until skip().
  std::span<const TokenId> peek(std::int64_t count) {
    while (std::ssize(ids_) < count && !rest_.empty()) append(take_document());
    return std::span(ids_).first(static_cast<std::size_t>(std::min<std::int64_t>(count, std::ssize(ids_))));
  }

  void skip(std::int64_t count) { ids_.erase(ids_.begin(), ids_.begin() + count); }

  /// Tokens still to come, guessed from the bytes.
  double guess_remaining() const {
    const double bytes_read = static_cast<double>(size_ - rest_.size());
    return static_cast<double>(ids_.size()) + static_cast<double>(rest_.size()) * made_ / bytes_read;
  }

 private:
  std::string_view take_document() {
    const auto end = std::min(rest_.find(kDocumentSeparator), rest_.size());
    const std::string_view document = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + kDocumentSeparator.size(), rest_.size()));
    return document;
  }

  void append(std::string_view document) {
    if (document.empty()) return;
    if (const auto start = tokenizer_.start_token()) ids_.push_back(*start);
    const auto ids = tokenizer_.encode(document, /*with_template=*/false);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    made_ += static_cast<double>(ids.size());
  }

  const Tokenizer& tokenizer_;
  std::size_t size_;
  std::string_view rest_;
  std::vector<TokenId> ids_;
  double made_ = 0;
};

}  // namespace mamba3
