#include "tokenizer/bpe.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "core/error.h"
#include "tokenizer/byte_letters.h"

namespace mamba3 {

// The cache
// --------------------------------------------------------------------------------------------------

std::size_t PieceCache::entry_of(std::string_view piece) {
  return std::hash<std::string_view>{}(piece) & (kEntries - 1);
}

bool PieceCache::append_known(std::string_view piece, std::vector<TokenId>& ids) const {
  if (piece.size() > kMostBytes) return false;
  const Entry& entry = entries_[entry_of(piece)];
  if (entry.bytes != piece.size() || std::memcmp(entry.piece.data(), piece.data(), piece.size()) != 0)
    return false;
  ids.insert(ids.end(), entry.ids.begin(), entry.ids.begin() + entry.tokens);
  return true;
}

void PieceCache::remember(std::string_view piece, const std::vector<TokenId>& ids, std::size_t count) {
  if (piece.size() > kMostBytes || count > kMostTokens) return;
  Entry& entry = entries_[entry_of(piece)];
  entry.bytes = static_cast<std::uint8_t>(piece.size());
  entry.tokens = static_cast<std::uint8_t>(count);
  std::copy(piece.begin(), piece.end(), entry.piece.begin());
  std::copy(ids.end() - static_cast<std::ptrdiff_t>(count), ids.end(), entry.ids.begin());
}

// Building
// ---------------------------------------------------------------------------------------------------

Bpe::Bpe(const TokenizerSpec& spec, const Vocabulary& vocabulary, const JsonNode& model)
    : vocabulary_(vocabulary), merges_(spec.merges.size()) {
  read_flags(model);
  read_bytes(model);
  read_merges(spec, model);
}

void Bpe::read_flags(const JsonNode& model) {
  if (model.flag("byte_fallback", false)) {
    fail(ErrorCode::unsupported, "{}: byte_fallback is not built", model.where());
  }
  if (model.has("dropout") && model.at("dropout").json() != 0.0) {
    fail(ErrorCode::unsupported, "{}: dropout is not built, it is {}", model.where(),
         shown(model.at("dropout").json()));
  }
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.has(affix) || model.at(affix).string().empty()) continue;
    fail(ErrorCode::unsupported, "{}: {} is not built, it is {}", model.where(), affix,
         shown(model.at(affix).json()));
  }
  fuse_unknown_ = model.flag("fuse_unk", false);
  ignore_merges_ = model.flag("ignore_merges", false);
}

void Bpe::read_bytes(const JsonNode& model) {
  bool complete = true;
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    const auto id = vocabulary_.find(spell_bytes({&c, 1}));
    of_byte_[static_cast<std::size_t>(byte)] = id.value_or(-1);
    complete = complete && id;
  }
  if (complete || !model.has("unk_token")) return;
  const std::string& unknown = model.at("unk_token").string();
  const auto id = vocabulary_.find(unknown);
  if (!id)
    fail(ErrorCode::bad_format, "{}: the unk_token {} is not in the vocabulary", model.where(), unknown);
  unknown_ = *id;
}

void Bpe::read_merges(const TokenizerSpec& spec, const JsonNode& model) {
  std::string joined;
  std::int32_t rank = 0;
  const auto known = [&](TokenId id) { return id >= 0 && static_cast<std::size_t>(id) < spec.tokens.size(); };
  for (const auto& [left, right] : spec.merges) {
    if (!known(left) || !known(right)) {
      fail(ErrorCode::bad_format, "{}: merge {} joins the ids {} and {}, the vocabulary has {}",
           model.where(), rank, left, right, spec.tokens.size());
    }
    joined = spec.tokens[static_cast<std::size_t>(left)];
    joined += spec.tokens[static_cast<std::size_t>(right)];
    const auto merged = vocabulary_.find(joined);
    if (!merged) {
      fail(ErrorCode::bad_format, "{}: merge {} gives the token {}, which is not in the vocabulary",
           model.where(), rank, joined);
    }
    merges_.set(left, right, {rank++, *merged});
  }
}

// Encoding
// ---------------------------------------------------------------------------------------------------

void Bpe::encode(std::string_view piece, BpeScratch& scratch, std::vector<TokenId>& ids) const {
  if (scratch.cache.append_known(piece, ids)) return;
  const std::size_t before = ids.size();
  encode_new(piece, scratch, ids);
  scratch.cache.remember(piece, ids, ids.size() - before);
}

void Bpe::encode_new(std::string_view piece, BpeScratch& scratch, std::vector<TokenId>& ids) const {
  if (ignore_merges_) {
    scratch.spelled.clear();
    for (const char byte : piece) append_spelled(scratch.spelled, static_cast<unsigned char>(byte));
    if (const auto whole = vocabulary_.find(scratch.spelled)) {
      ids.push_back(*whole);
      return;
    }
  }
  start_symbols(piece, scratch);
  merge_symbols(scratch);
  for (const BpeScratch::Symbol& symbol : scratch.symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

void Bpe::start_symbols(std::string_view piece, BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  bool after_unknown = false;
  for (const char byte : piece) {
    const TokenId known = of_byte_[static_cast<unsigned char>(byte)];
    const TokenId id = known >= 0 ? known : unknown_;
    const bool fused = known < 0 && fuse_unknown_ && after_unknown;
    after_unknown = known < 0;
    if (id < 0 || fused) continue;
    const auto at = static_cast<std::int32_t>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});
  }
  if (!symbols.empty()) symbols.back().next = -1;
}

/// The lowest rank first, and of equal ones the leftmost. Queued merges whose symbols have changed are
/// dropped when they come up.
void Bpe::merge_symbols(BpeScratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& queue = scratch.queue;
  queue.clear();
  const auto merge_at = [&](std::int32_t at) {
    const BpeScratch::Symbol& symbol = symbols[static_cast<std::size_t>(at)];
    if (symbol.id < 0 || symbol.next < 0) return Merge{};
    return merges_.find(symbol.id, symbols[static_cast<std::size_t>(symbol.next)].id);
  };
  const auto enqueue = [&](std::int32_t at) {
    const Merge merge = merge_at(at);
    if (merge.rank < 0) return false;
    queue.push_back(std::uint64_t{static_cast<std::uint32_t>(merge.rank)} << 32 |
                    static_cast<std::uint32_t>(at));
    return true;
  };
  for (std::size_t at = 0; at < symbols.size(); ++at) enqueue(static_cast<std::int32_t>(at));
  std::make_heap(queue.begin(), queue.end(), std::greater<>());

  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const auto rank = static_cast<std::int32_t>(queue.back() >> 32);
    const auto at = static_cast<std::int32_t>(queue.back() & 0xffffffffu);
    queue.pop_back();
    const Merge merge = merge_at(at);
    if (merge.rank != rank) continue;

    BpeScratch::Symbol& left = symbols[static_cast<std::size_t>(at)];
    BpeScratch::Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    left.id = merge.merged;
    left.next = right.next;
    right.id = -1;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = at;
    if (enqueue(at)) std::push_heap(queue.begin(), queue.end(), std::greater<>());
    if (left.previous >= 0 && enqueue(left.previous))
      std::push_heap(queue.begin(), queue.end(), std::greater<>());
  }
}

}  // namespace mamba3
