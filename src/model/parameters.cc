// The one table of parameters.
#include <fmt/format.h>

#include "ffn/swiglu/mlp.h"
#include "mixers/mamba3/mamba3.h"
#include "model/checkpoint.h"

namespace mamba3 {
namespace {

void add_norm(ParameterTable& table, const ModelConfig& c, const std::string& name,
              const std::string& official, const std::string& gguf) {
  table.push_back({name + ".weight",
                   "d_model",
                   {c.d_model},
                   Precision::exact,
                   Init::ones,
                   false,
                   official + ".weight",
                   0,
                   gguf + ".weight"});
  if (!c.rms_norm) {
    table.push_back({name + ".bias",
                     "d_model",
                     {c.d_model},
                     Precision::exact,
                     Init::zeros,
                     false,
                     official + ".bias",
                     0,
                     gguf + ".bias"});
  }
}

// A room's rows under a layer's prefixes.
void add_rows(ParameterTable& table, const ParameterTable& rows, const std::string& name,
              const std::string& official, const std::string& gguf) {
  for (Parameter row : rows) {
    row.name.insert(0, name);
    row.official.insert(0, official);
    row.gguf.insert(0, gguf);
    table.push_back(std::move(row));
  }
}

}  // namespace

ParameterTable parameter_table(const ModelConfig& c) {
  const Shape vocabulary = {c.vocab_rows(), c.d_model};
  ParameterTable table;
  table.push_back({"embedding", "vocab d_model", vocabulary, Precision::weight, Init::embedding, false,
                   "backbone.embedding.weight", 0, "token_embd.weight"});
  for (std::int64_t i = 0; i < c.n_layer; ++i) {
    const std::string layer = fmt::format("layers.{}.", i), official = "backbone." + layer;
    const std::string block = fmt::format("blk.{}.", i);
    add_norm(table, c, layer + "norm", official + "norm", block + "attn_norm");
    add_rows(table, mamba3_parameters(c.mixer), layer + "mixer.", official + "mixer.", block);
    if (c.d_intermediate > 0) {
      add_norm(table, c, layer + "norm2", official + "norm2", block + "ffn_norm");
      add_rows(table, mlp_parameters(c.d_model, c.ffn_width), layer, official, block);
    }
  }
  add_norm(table, c, "norm_f", "backbone.norm_f", "output_norm");
  if (!c.tie_embeddings) {
    table.push_back({"head", "vocab d_model", vocabulary, Precision::weight, Init::fan_in, true,
                     "lm_head.weight", 0, "output.weight"});
  }
  return table;
}

}  // namespace mamba3
