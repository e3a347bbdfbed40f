// The parts of tokenizer.json around the model: what frames a text, and what must be refused.
#pragma once

#include <vector>

#include "mamba3/tokenizer.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/json_node.h"
#include "tokenizer/spec.h"

namespace mamba3 {

/// Tokens that the post-processor puts around a text.
struct Frame {
  std::vector<TokenId> before;
  std::vector<TokenId> after;
};

/// `node`: the value of post_processor. Supports null, ByteLevel, TemplateProcessing ("single"),
/// RobertaProcessing, BertProcessing and Sequence. Ids must be below `vocab_size`.
Frame read_post_processor(const JsonNode& node, std::int64_t vocab_size);

/// Throws Error(unsupported), by name, unless the node's kind is built: no normalizer; a ByteLevel decoder or
/// none.
void check_normalizer(const JsonNode& node);
void check_decoder(const JsonNode& node);

/// Added tokens by id, each id and each content once. Throws Error(bad_format) where they contradict each
/// other or the vocabulary, or for an id out of all proportion to the number of tokens.
std::vector<AddedToken> read_added_tokens(const JsonNode& root, const TokenizerSpec& spec);

/// The ids a file with so many entries may use: gaps are allowed, but memory stays in proportion.
std::int64_t id_limit(std::size_t entries);

/// Splits a whole tokenizer.json. Throws Error with `name`.
TokenizerSpec read_tokenizer_json(std::string_view text, const std::string& name);

}  // namespace mamba3
