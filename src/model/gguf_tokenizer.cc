// The tokenizer inside a GGUF file: ggml's arrays of tokens and merges, and the rest of tokenizer.json beside
// them.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/error.h"
#include "model/gguf_metadata.h"
#include "tokenizer/spec.h"

namespace mamba3 {
namespace {

// ggml's token types.
constexpr std::int32_t kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5;

// tokenizer.json without vocabulary and merges.
constexpr const char* kSettings = "tokenizer.mamba3.settings";

// The pattern of Llama 3's tokenizer, which GGUF calls llama-bpe.
constexpr const char* kLlamaPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// The settings that GGUF's name of a pre-tokenizer stands for, for files that other programs wrote.
std::string settings_of(const GgufFile& file, const std::vector<std::string>& tokens) {
  const std::string* pre = file.find_text("tokenizer.ggml.pre");
  const std::string name = pre == nullptr ? "gpt-2" : *pre;
  const bool llama = name == "llama-bpe" || name == "llama3" || name == "llama-v3";
  if (!llama && name != "gpt-2" && name != "default") {
    fail(ErrorCode::unsupported, "{}: tokenizer.ggml.pre is {}, expected llama-bpe or gpt-2", file.file.name,
         name);
  }
  using nlohmann::json;
  json pre_tokenizer = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", !llama}};
  if (llama) {
    const json split = {{"type", "Split"},
                        {"pattern", {{"Regex", kLlamaPattern}}},
                        {"behavior", "Isolated"},
                        {"invert", false}};
    pre_tokenizer = {{"type", "Sequence"}, {"pretokenizers", json::array({split, pre_tokenizer})}};
  }
  json added = json::array();
  const auto types = file.find_integers("tokenizer.ggml.token_type");
  for (std::size_t id = 0; types && id < types->size() && id < tokens.size(); ++id) {
    const std::int64_t type = (*types)[id];
    if (type == kControl || type == kUserDefined) {
      added.push_back({{"id", id},
                       {"content", tokens[id]},
                       {"special", type == kControl},
                       {"normalized", false},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false}});
    }
  }
  return json({{"added_tokens", added},
               {"normalizer", nullptr},
               {"pre_tokenizer", pre_tokenizer},
               {"post_processor", nullptr},
               {"decoder", {{"type", "ByteLevel"}}},
               {"model", {{"type", "BPE"}, {"ignore_merges", llama}}}})
      .dump();
}

std::pair<TokenId, TokenId> merge_of(const std::string& text,
                                     const std::unordered_map<std::string_view, TokenId>& ids,
                                     const std::string& file) {
  const std::size_t space = text.find(' ', 1);
  const std::string_view left = std::string_view(text).substr(0, space);
  const std::string_view right = space == std::string::npos ? "" : std::string_view(text).substr(space + 1);
  const auto a = ids.find(left), b = ids.find(right);
  if (a == ids.end() || b == ids.end()) {
    fail(ErrorCode::bad_format, "{}: merge \"{}\" is not made of two tokens of the vocabulary", file, text);
  }
  return {a->second, b->second};
}

}  // namespace

std::optional<Tokenizer> tokenizer_from_gguf(const GgufFile& file) {
  const auto* tokens = file.find_texts("tokenizer.ggml.tokens");
  if (tokens == nullptr) return std::nullopt;
  if (const std::string& model = file.text("tokenizer.ggml.model"); model != "gpt2") {
    fail(ErrorCode::unsupported, "{}: tokenizer.ggml.model is {}, expected gpt2 (byte-level BPE)",
         file.file.name, model);
  }
  TokenizerSpec spec;
  const std::string* settings = file.find_text(kSettings);
  spec.settings = settings != nullptr ? *settings : settings_of(file, *tokens);
  spec.tokens = *tokens;
  if (const auto types = file.find_integers("tokenizer.ggml.token_type")) {
    for (std::size_t id = 0; id < std::min(types->size(), spec.tokens.size()); ++id) {
      if ((*types)[id] == kUnused) spec.tokens[id].clear();
    }
  }
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(spec.tokens.size());
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    if (!spec.tokens[id].empty()) ids.emplace(spec.tokens[id], static_cast<TokenId>(id));
  }
  const auto& merges = file.texts("tokenizer.ggml.merges");
  spec.merges.reserve(merges.size());
  for (const std::string& text : merges) spec.merges.push_back(merge_of(text, ids, file.file.name));
  while (!spec.tokens.empty() && spec.tokens.back().empty()) spec.tokens.pop_back();
  return Tokenizer::from_spec(std::move(spec), file.file.name);
}

void append_tokenizer(const Tokenizer& tokenizer, std::int64_t rows, GgufMetadata& metadata) {
  const TokenizerSpec& spec = tokenizer.spec();
  const auto settings = nlohmann::json::parse(spec.settings);
  const auto count = static_cast<std::size_t>(std::max(rows, tokenizer.vocab_size()));
  std::vector<std::string> tokens = spec.tokens;
  tokens.resize(count);
  std::vector<std::int32_t> types(count, kNormal);
  for (const auto& added : settings.value("added_tokens", nlohmann::json::array())) {
    const auto id = added.at("id").get<std::size_t>();
    tokens[id] = added.at("content").get<std::string>();
    types[id] = added.value("special", false) ? kControl : kUserDefined;
  }
  for (std::size_t id = 0; id < count; ++id) {
    if (!tokens[id].empty()) continue;
    tokens[id] = fmt::format("[UNUSED{}]", id);
    types[id] = kUnused;
  }
  std::vector<std::string> merges;
  merges.reserve(spec.merges.size());
  for (const auto& [left, right] : spec.merges) {
    if (spec.tokens[left].find(' ') != std::string::npos ||
        spec.tokens[right].find(' ') != std::string::npos) {
      fail(ErrorCode::unsupported, "the merge of \"{}\" and \"{}\" holds a space, which GGUF cannot store",
           spec.tokens[left], spec.tokens[right]);
    }
    merges.push_back(spec.tokens[left] + " " + spec.tokens[right]);
  }
  const auto put = [&](const char* name, GgufValue value) { metadata.emplace_back(name, std::move(value)); };
  put("tokenizer.ggml.model", std::string("gpt2"));
  put("tokenizer.ggml.pre",
      std::string(spec.settings.find("{1,3}") != std::string::npos ? "llama-bpe" : "gpt-2"));
  put("tokenizer.ggml.tokens", std::move(tokens));
  put("tokenizer.ggml.token_type", std::move(types));
  put("tokenizer.ggml.merges", std::move(merges));
  if (const auto start = tokenizer.start_token())
    put("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(*start));
  if (const auto ends = tokenizer.end_tokens(); !ends.empty()) {
    put("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(ends.front()));
  }
  put("tokenizer.ggml.add_bos_token", tokenizer.start_token().has_value());
  put(kSettings, spec.settings);
}

}  // namespace mamba3
