#include "tokenizer/vocabulary.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace mamba3 {
namespace {

std::size_t slots_for(std::size_t entries) {
  return std::bit_ceil(std::max<std::size_t>(2 * entries, 2));
}

}  // namespace

Vocabulary::Vocabulary(const std::vector<std::string>& tokens)
    : tokens_(tokens), slots_(slots_for(tokens.size()), -1) {
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    TokenId& slot = slots_[slot_of(tokens[id])];
    if (slot >= 0) duplicate_ = static_cast<TokenId>(id);
    slot = static_cast<TokenId>(id);
  }
}

std::size_t Vocabulary::slot_of(std::string_view token) const {
  std::size_t slot = std::hash<std::string_view>{}(token) & (slots_.size() - 1);
  while (slots_[slot] >= 0 && tokens_[static_cast<std::size_t>(slots_[slot])] != token) {
    slot = (slot + 1) & (slots_.size() - 1);
  }
  return slot;
}

std::optional<TokenId> Vocabulary::find(std::string_view token) const {
  const TokenId id = slots_[slot_of(token)];
  if (id < 0) return std::nullopt;
  return id;
}

MergeTable::MergeTable(std::size_t merges)
    : slots_(slots_for(merges)), shift_(64 - std::countr_zero(slots_.size())) {}

void MergeTable::set(TokenId left, TokenId right, Merge merge) {
  const std::uint64_t key = key_of(left, right);
  slots_[slot_of(key)] = {key, merge};
}

}  // namespace mamba3
