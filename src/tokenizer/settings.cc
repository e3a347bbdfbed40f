#include "tokenizer/settings.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <unordered_map>

#include "core/error.h"

namespace mamba3 {
namespace {

[[noreturn]] void not_built(const JsonNode& node) {
  fail(ErrorCode::unsupported, "{} has the type {}, which is not built", node.where(),
       shown(node.at("type").json()));
}

TokenId token_id(const JsonNode& node, std::int64_t vocab_size) {
  const std::int64_t id = node.integer();
  if (id < 0 || id >= vocab_size) {
    fail(ErrorCode::bad_format, "{} is {}, expected an id below {}", node.where(), id, vocab_size);
  }
  return static_cast<TokenId>(id);
}

/// "single": special tokens, by name, around one "Sequence".
Frame read_template(const JsonNode& node, std::int64_t vocab_size) {
  Frame frame;
  const JsonNode single = node.at("single");
  bool seen_text = false;
  for (std::size_t i = 0; i < single.array_size(); ++i) {
    const JsonNode piece = single.item(i);
    if (!piece.has("SpecialToken")) {
      if (piece.at("Sequence").at("id").string() != "A" || seen_text) {
        fail(ErrorCode::unsupported, "{}: only one Sequence, A, is built", single.where());
      }
      seen_text = true;
      continue;
    }
    const std::string& name = piece.at("SpecialToken").at("id").string();
    const JsonNode ids = node.at("special_tokens").at(name).at("ids");
    for (std::size_t k = 0; k < ids.array_size(); ++k) {
      (seen_text ? frame.after : frame.before).push_back(token_id(ids.item(k), vocab_size));
    }
  }
  if (!seen_text)
    fail(ErrorCode::bad_format, "{} has no Sequence: the text itself is missing", single.where());
  return frame;
}

/// RobertaProcessing and BertProcessing: "cls": ["<s>", 0], "sep": ["</s>", 2].
Frame read_cls_sep(const JsonNode& node, std::int64_t vocab_size) {
  const auto id_of = [&](const char* key) {
    const JsonNode pair = node.at(key);
    if (pair.array_size() != 2) fail(ErrorCode::bad_format, "{} is not a token with its id", pair.where());
    return token_id(pair.item(1), vocab_size);
  };
  return {.before = {id_of("cls")}, .after = {id_of("sep")}};
}

}  // namespace

Frame read_post_processor(const JsonNode& node, std::int64_t vocab_size) {
  if (node.is_null()) return {};
  const std::string& type = node.at("type").string();
  if (type == "ByteLevel") return {};  // it mends offsets into the text only
  if (type == "TemplateProcessing") return read_template(node, vocab_size);
  if (type == "RobertaProcessing" || type == "BertProcessing") return read_cls_sep(node, vocab_size);
  if (type != "Sequence") not_built(node);
  Frame all;
  const JsonNode items = node.at("processors");
  for (std::size_t i = 0; i < items.array_size(); ++i) {
    const Frame outer = read_post_processor(items.item(i), vocab_size);
    all.before.insert(all.before.begin(), outer.before.begin(), outer.before.end());
    all.after.insert(all.after.end(), outer.after.begin(), outer.after.end());
  }
  return all;
}

void check_normalizer(const JsonNode& node) {
  if (node.is_null()) return;
  if (node.at("type").string() != "Sequence") not_built(node);
  const JsonNode items = node.at("normalizers");
  for (std::size_t i = 0; i < items.array_size(); ++i) check_normalizer(items.item(i));
}

void check_decoder(const JsonNode& node) {
  if (node.is_null()) return;
  const std::string& type = node.at("type").string();
  if (type == "ByteLevel") return;
  if (type != "Sequence") not_built(node);
  const JsonNode items = node.at("decoders");
  for (std::size_t i = 0; i < items.array_size(); ++i) check_decoder(items.item(i));
}

std::int64_t id_limit(std::size_t entries) {
  constexpr std::int64_t kAlways = 65536;
  constexpr std::int64_t kFew = 4096;  // the first ones may leave wide gaps: an excerpt of a vocabulary, say
  const auto count = static_cast<std::int64_t>(std::min(entries, std::size_t{1} << 28));  // ids have 31 bits
  return kAlways + 64 * std::min(count, kFew) + 4 * count;
}

std::vector<AddedToken> read_added_tokens(const JsonNode& root, const TokenizerSpec& spec) {
  if (!root.has("added_tokens")) return {};
  const JsonNode node = root.at("added_tokens");
  std::vector<AddedToken> listed = read_added_tokens(node);
  const std::int64_t limit = id_limit(spec.tokens.size() + listed.size());

  std::map<TokenId, AddedToken> by_id;
  std::unordered_map<std::string, TokenId> ids;
  for (AddedToken& token : listed) {
    if (token.id >= limit) {
      fail(ErrorCode::bad_format, "{}: the id of {} is {}, expected one below {} in a file of so few tokens",
           node.where(), token.content, token.id, limit);
    }
    const auto [seen, is_new] = ids.emplace(token.content, token.id);
    if (!is_new && seen->second != token.id) {
      fail(ErrorCode::bad_format, "{}: {} has two ids, {} and {}", node.where(), token.content, seen->second,
           token.id);
    }
    const auto same_id = by_id.find(token.id);
    if (same_id != by_id.end() && same_id->second.content != token.content) {
      fail(ErrorCode::bad_format, "{}: {} and {} have the same id {}", node.where(), same_id->second.content,
           token.content, token.id);
    }
    by_id.insert_or_assign(token.id, std::move(token));
  }
  std::vector<AddedToken> tokens;
  for (auto& [id, token] : by_id) tokens.push_back(std::move(token));
  return tokens;
}

}  // namespace mamba3
