// Small tokenizers for tests: all 256 bytes as tokens, and a few merges.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "mamba3/error.h"
#include "mamba3/tokenizer.h"
#include "tokenizer/byte_letters.h"

namespace mamba3::test {

using nlohmann::json;

inline json byte_level(bool prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}, {"use_regex", use_regex}};
}

inline json sequence(const char* key, const std::vector<json>& items) {
  return {{"type", "Sequence"}, {key, items}};
}

/// Split by a pattern, then bytes.
inline json split(const std::string& pattern, const std::string& behavior = "Isolated", bool invert = false,
                  const std::string& kind = "Regex") {
  const json one = {
      {"type", "Split"}, {"pattern", {{kind, pattern}}}, {"behavior", behavior}, {"invert", invert}};
  return sequence("pretokenizers", {one, byte_level(false, false)});
}

/// Byte b has the id b. Merges make "th" 256, "the" 257, "Ġthe" 258, "an" 259, "aa" 260, "aaaa" 261.
inline json tiny_json() {
  json vocab = json::object();
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    vocab[spell_bytes({&c, 1})] = byte;
  }
  int next = 256;
  for (const char* token : {"th", "the", "Ġthe", "an", "aa", "aaaa"}) vocab[token] = next++;
  const json merges =
      json::array({{"t", "h"}, {"th", "e"}, {"Ġ", "the"}, {"a", "n"}, {"a", "a"}, {"aa", "aa"}});
  return {{"added_tokens", json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level(false, true)},
          {"post_processor", nullptr},
          {"decoder", byte_level(false, false)},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}}};
}

/// 300, 301, ... with these texts and flags.
inline json added(const std::string& content, int id, const json& flags = json::object()) {
  json token = {{"id", id}, {"content", content}, {"normalized", false}, {"special", false}};
  token.update(flags);
  return token;
}

inline Tokenizer load(const json& file) {
  return Tokenizer::from_json(file.dump(), "tiny.json");
}

/// The bytes of each token of `text`.
inline std::vector<std::string> pieces(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::string> found;
  for (const TokenId id : tokenizer.encode(text)) found.emplace_back(tokenizer.bytes_of(id));
  return found;
}

/// The message that loading `file` is refused with; empty when it loads.
inline std::string refusal(const std::string& file) {
  try {
    Tokenizer::from_json(file, "tiny.json");
    return "";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("tiny.json"), std::string::npos) << error.what();
    return error.what();
  }
}

}  // namespace mamba3::test
