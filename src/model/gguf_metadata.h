// GGUF's metadata of architecture "mamba3": the configuration and the tokenizer (docs/formats.md has the
// keys).
#pragma once

#include <optional>

#include "formats/gguf.h"
#include "mamba3/tokenizer.h"
#include "model/config.h"
#include "model/rows.h"

namespace mamba3 {

/// Throws Error naming the file and the key. Sets ffn_width.
ModelConfig config_from_gguf(const GgufFile& file);
/// Nothing when the file has no tokenizer.
std::optional<Tokenizer> tokenizer_from_gguf(const GgufFile& file);

/// Marks the tensors that the file says are tiled. Throws Error(unsupported) for a layout of another name.
void apply_layout(GgufFile& file);

/// Nothing for rows: a file without the key has them.
void append_layout(Layout layout, GgufMetadata& metadata);
void append_config(const ModelConfig& config, GgufMetadata& metadata);
/// Every one of `rows` ids gets a token; ids that the tokenizer does not have are marked unused.
void append_tokenizer(const Tokenizer& tokenizer, std::int64_t rows, GgufMetadata& metadata);

}  // namespace mamba3
