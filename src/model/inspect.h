// What a file or folder holds, and whether it is sound.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "mamba3/tokenizer.h"
#include "model/config.h"

namespace mamba3 {

enum class FileKind { folder, gguf, safetensors, torch, tokenizer };

/// By content where it shows (GGUF, zip), else by the name's ending, else by the first bytes. Throws Error:
/// not_found, or bad_format for what is none of these.
FileKind kind_of(const std::filesystem::path& path);

struct TensorFacts {
  std::string name;  ///< as in the file
  std::string type;  ///< "BF16", "IQ2_XS"
  Shape shape;
  std::int64_t elements;
  std::int64_t bytes;
  bool tiled;  ///< packed for the products, see docs/formats.md
};

struct Inspection {
  std::string name;
  std::string kind;                   ///< "model folder (torch)", "GGUF model", "tokenizer", ...
  std::optional<ModelConfig> config;  ///< of a model that can be run
  std::int64_t parameters = 0;        ///< of a model: a tied head counts once
  std::int64_t state_bytes = 0;       ///< of a model: one session's memory
  std::vector<TensorFacts> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;  ///< GGUF, safetensors; long values are cut
  std::optional<Tokenizer> tokenizer;
  std::string remark;  ///< why it cannot be run, for instance; else empty
};

/// Reads headers, and with `check` every byte: no NaN or infinity, torch sums as recorded. Throws Error with
/// the first fault.
Inspection inspect(const std::filesystem::path& path, bool check);
/// A GGUF in memory.
Inspection inspect_gguf(std::span<const std::byte> bytes, const std::string& name, bool check);

/// The tokenizer of a model folder, a GGUF file or a tokenizer.json; weights are not looked at. Throws Error.
Tokenizer load_tokenizer(const std::filesystem::path& path);

}  // namespace mamba3
