// Flat hash tables from a token's spelling, and from a pair of tokens, to ids.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mamba3/tokenizer.h"

namespace mamba3 {

/// Spelling to id. Views the vector it is built from. Empty strings are no entries.
class Vocabulary {
 public:
  explicit Vocabulary(const std::vector<std::string>& tokens);
  std::optional<TokenId> find(std::string_view token) const;
  /// An entry that an earlier one has the same spelling as, if there is one.
  std::optional<TokenId> duplicate() const { return duplicate_; }

 private:
  std::size_t slot_of(
      std::string_view token) const;  // the token's slot, or the empty one where it would stand

  const std::vector<std::string>& tokens_;
  std::vector<TokenId> slots_;  // -1: empty; a power of two
  std::optional<TokenId> duplicate_;
};

/// What a pair of neighbours becomes.
struct Merge {
  std::int32_t rank = -1;  ///< lower ones come first; -1: none
  TokenId merged = -1;
};

class MergeTable {
 public:
  explicit MergeTable(std::size_t merges);
  void set(TokenId left, TokenId right, Merge merge);  ///< the last one of a pair counts
  Merge find(TokenId left, TokenId right) const { return slots_[slot_of(key_of(left, right))].merge; }

 private:
  struct Slot {
    std::uint64_t key;
    Merge merge;
  };
  static std::uint64_t key_of(TokenId left, TokenId right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }
  std::size_t slot_of(std::uint64_t key) const {
    std::size_t slot = static_cast<std::size_t>((key * 0x9e3779b97f4a7c15u) >> shift_);
    while (slots_[slot].merge.rank >= 0 && slots_[slot].key != key) slot = (slot + 1) & (slots_.size() - 1);
    return slot;
  }

  std::vector<Slot> slots_;  // a power of two, at most half full
  int shift_;
};

}  // namespace mamba3
