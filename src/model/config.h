// The shape of a model, as config.json of an official checkpoint or a GGUF's metadata gives it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mixers/mamba3/config.h"

namespace mamba3 {

struct ModelConfig {
  std::int64_t d_model = 0;
  std::int64_t n_layer = 0;
  std::int64_t vocab_size = 0;
  std::int64_t d_intermediate = 0;  ///< 0: no MLP
  std::int64_t ffn_width = 0;       ///< F as stored (d_intermediate rounded up); known once the tensors are
  bool rms_norm = true;             ///< else LayerNorm
  bool residual_in_fp32 = true;     ///< kept for writing; the residual stream is always float32 here
  bool fused_add_norm = true;       ///< kept for writing; changes nothing
  bool tie_embeddings = true;
  std::int64_t pad_vocab_size_multiple = 8;
  std::int64_t chunk_size = 64;  ///< kept for writing; a tile of the authors' kernels
  Mamba3Config mixer;

  bool has_mlp() const { return d_intermediate > 0; }

  std::int64_t vocab_rows() const {  ///< rows of the embedding
    const auto m = pad_vocab_size_multiple;
    return (vocab_size + m - 1) / m * m;
  }

  /// Throws Error naming the first field that does not fit. `where` names the file.
  void check(const std::string& where) const;
};

/// Reads an official config.json. Missing keys take the reference defaults; `where` names the file in
/// messages. Layer types and attention layers that are not built are refused by name.
ModelConfig parse_config(std::string_view json, const std::string& where);

/// The official config.json of a model.
std::string config_to_json(const ModelConfig& config);

}  // namespace mamba3
