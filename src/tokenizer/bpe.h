// Byte pair encoding: the tokens of one piece of text.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/json_node.h"
#include "tokenizer/spec.h"
#include "tokenizer/vocabulary.h"

namespace mamba3 {

/// Recently seen short pieces and their tokens: a fixed 1 MiB, a newer piece takes the place of an older one.
class PieceCache {
 public:
  PieceCache() : entries_(kEntries) {}
  /// Appends the tokens of `piece`, when they are known.
  bool append_known(std::string_view piece, std::vector<TokenId>& ids) const;
  /// The last `count` of `ids` are the tokens of `piece`.
  void remember(std::string_view piece, const std::vector<TokenId>& ids, std::size_t count);

 private:
  static constexpr std::size_t kEntries = 16384;  // a power of two
  static constexpr std::size_t kMostBytes = 30;
  static constexpr std::size_t kMostTokens = 8;
  struct Entry {
    std::uint8_t bytes = 0;  // 0: empty
    std::uint8_t tokens = 0;
    std::array<char, kMostBytes> piece;
    std::array<TokenId, kMostTokens> ids;
  };
  static_assert(sizeof(Entry) == 64);
  static std::size_t entry_of(std::string_view piece);

  std::vector<Entry> entries_;
};

/// Working memory of encoding, one a thread.
struct BpeScratch {
  struct Symbol {
    TokenId id;             // -1: merged into the one before it
    std::int32_t previous;  // -1: none
    std::int32_t next;      // -1: none
  };
  std::vector<Symbol> symbols;
  std::vector<std::uint64_t> queue;
  std::string spelled;
  PieceCache cache;
};

class Bpe {
 public:
  /// `model`: tokenizer.json's model without vocab and merges. Views `spec` and `vocabulary`. Throws Error
  /// for what is not built, by name, and for merges that contradict the vocabulary.
  Bpe(const TokenizerSpec& spec, const Vocabulary& vocabulary, const JsonNode& model);

  /// Appends the tokens of `piece` (any bytes, fewer than 2^31). Bytes that have no token become the unknown
  /// token, or nothing where the model names none. O(n log n).
  void encode(std::string_view piece, BpeScratch& scratch, std::vector<TokenId>& ids) const;

 private:
  void read_flags(const JsonNode& model);
  void read_bytes(const JsonNode& model);
  void read_merges(const TokenizerSpec& spec, const JsonNode& model);
  void encode_new(std::string_view piece, BpeScratch& scratch, std::vector<TokenId>& ids) const;
  void start_symbols(std::string_view piece, BpeScratch& scratch) const;
  void merge_symbols(BpeScratch& scratch) const;

  const Vocabulary& vocabulary_;
  MergeTable merges_;
  std::array<TokenId, 256> of_byte_;  // -1: no token
  TokenId unknown_ = -1;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

}  // namespace mamba3
