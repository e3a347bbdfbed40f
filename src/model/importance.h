// The importance matrix: how strongly each input of a model's products moves, measured on a text. Files are
// those of llama.cpp (GGUF with `NAME.in_sum2` and `NAME.counts` for each tensor NAME).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "model/checkpoint.h"

namespace mamba3 {

struct ImportanceMatrix {
  struct Entry {
    std::vector<float> mean_squares;  ///< of each input, a matrix's column, over the tokens seen
    std::int64_t tokens = 0;
  };

  std::map<std::string, Entry> entries;  ///< by GGUF tensor name
  std::string file;                      ///< the path as given; empty for one that was never stored
  std::string dataset;                   ///< the name of the text
  std::int64_t chunks = 0;               ///< pieces of text that were read from a fresh state ...
  std::int64_t chunk_tokens = 0;         ///< ... and their length

  /// One weight for each column of the tensor; null when it has none.
  const float* columns(const std::string& tensor) const;
};

/// The GGUF names of the matrices of a model that have an entry: all that make products, a tied embedding as
/// the head that it is.
std::vector<const Parameter*> product_matrices(const ParameterTable& parameters);

/// Writes float32 sums and counts. Atomic.
void save_importance(const ImportanceMatrix& matrix, const std::filesystem::path& path);

/// Throws Error: bad_format for a file that is none or does not belong to `checkpoint` (a matrix missing or
/// unknown, another width, values that are not finite or negative, no tokens).
ImportanceMatrix load_importance(const std::filesystem::path& path, const Checkpoint& checkpoint);

}  // namespace mamba3
