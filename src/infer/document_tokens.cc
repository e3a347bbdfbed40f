#include "infer/document_tokens.h"

#include <algorithm>

namespace mamba3 {

std::span<const TokenId> DocumentTokens::peek(std::int64_t count) {
  while (std::ssize(ids_) < count && !rest_.empty()) append(take_document());
  return std::span(ids_).first(static_cast<std::size_t>(std::min<std::int64_t>(count, std::ssize(ids_))));
}

void DocumentTokens::skip(std::int64_t count) {
  ids_.erase(ids_.begin(), ids_.begin() + count);
}

double DocumentTokens::guess_remaining() const {
  const double bytes_read = static_cast<double>(size_ - rest_.size());
  return static_cast<double>(ids_.size()) + static_cast<double>(rest_.size()) * made_ / bytes_read;
}

std::string_view DocumentTokens::take_document() {
  const auto end = std::min(rest_.find(kDocumentSeparator), rest_.size());
  const std::string_view document = rest_.substr(0, end);
  rest_.remove_prefix(std::min(end + kDocumentSeparator.size(), rest_.size()));
  return document;
}

void DocumentTokens::append(std::string_view document) {
  if (document.empty()) return;
  if (const auto start = tokenizer_.start_token()) ids_.push_back(*start);
  const auto ids = tokenizer_.encode(document, /*with_template=*/false);
  ids_.insert(ids_.end(), ids.begin(), ids.end());
  made_ += static_cast<double>(ids.size());
}

}  // namespace mamba3
