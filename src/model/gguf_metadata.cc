#include "model/gguf_metadata.h"

#include "core/error.h"
#include "formats/shown.h"
#include "ops/linear/pack.h"

namespace mamba3 {
namespace {

constexpr const char* kArchitecture = "mamba3";
constexpr const char* kLayout = "mamba3.layout";
constexpr const char* kRows = "rows";
constexpr const char* kTiles = "tiles16";

std::string key(const char* name) {
  return std::string(kArchitecture) + "." + name;
}

std::uint32_t small(std::int64_t value) {
  return static_cast<std::uint32_t>(value);
}

}  // namespace

ModelConfig config_from_gguf(const GgufFile& file) {
  const std::string& name = file.file.name;
  if (const std::string& architecture = file.text("general.architecture"); architecture != kArchitecture) {
    fail(ErrorCode::unsupported, "{}: general.architecture is {}, and only {} is built yet", name,
         architecture, kArchitecture);
  }
  const auto integer = [&](const char* field) { return file.integer(key(field)); };
  const auto integer_or = [&](const char* field, std::int64_t value) {
    return file.find_integer(key(field)).value_or(value);
  };
  ModelConfig c;
  c.d_model = integer("embedding_length");
  c.n_layer = integer("block_count");
  c.vocab_size = integer("vocab_size");
  c.pad_vocab_size_multiple = integer_or("vocab_size_multiple", 1);
  c.ffn_width = integer_or("feed_forward_length", 0);
  c.d_intermediate = c.ffn_width;
  c.rms_norm = file.find(key("attention.layer_norm_rms_epsilon")) != nullptr;
  c.tie_embeddings =
      !file.file.tensors.contains("output.weight") && !file.file.foreign.contains("output.weight");
  c.residual_in_fp32 = file.find_flag(key("residual_in_fp32")).value_or(true);
  c.chunk_size = integer_or("ssm.chunk_size", 64);

  Mamba3Config& m = c.mixer;
  m.d_model = c.d_model;
  m.d_state = integer("ssm.state_size");
  m.headdim = integer("ssm.head_dim");
  m.ngroups = integer_or("ssm.group_count", 1);
  m.rope_fraction = file.real(key("ssm.rope_fraction"));
  m.mimo_rank = integer_or("ssm.mimo_rank", 4);
  m.is_mimo = file.find(key("ssm.mimo_rank")) != nullptr;
  m.is_outproj_norm = file.find_flag(key("ssm.out_norm")).value_or(false);
  m.A_floor = file.find_real(key("ssm.a_floor")).value_or(1e-4);
  const std::string& activation = file.text(key("ssm.a_activation"));
  if (activation != "heavy_tail" && activation != "softplus") {
    fail(ErrorCode::unsupported, "{}: {} is {}, expected heavy_tail or softplus", name,
         key("ssm.a_activation"), activation);
  }
  m.A_activation = activation == "softplus" ? AActivation::softplus : AActivation::heavy_tail;

  const std::int64_t inner = integer("ssm.inner_size");
  if (c.d_model < 1 || inner < 1 || inner % c.d_model != 0) {
    fail(ErrorCode::bad_format, "{}: {} is {}, expected a multiple of {} {}", name, key("ssm.inner_size"),
         inner, key("embedding_length"), c.d_model);
  }
  m.expand = inner / c.d_model;
  c.check(name);
  if (const std::int64_t heads = integer_or("ssm.time_step_rank", m.n_heads()); heads != m.n_heads()) {
    fail(ErrorCode::bad_format, "{}: {} is {}, expected {} heads", name, key("ssm.time_step_rank"), heads,
         m.n_heads());
  }
  return c;
}

void apply_layout(GgufFile& file) {
  const std::string* layout = file.find_text(kLayout);
  if (layout == nullptr || *layout == kRows) return;
  if (*layout != kTiles) {
    fail(ErrorCode::unsupported, "{}: {} is {}, expected {} or {}", file.file.name, kLayout, shown(*layout),
         kRows, kTiles);
  }
  for (auto& [name, tensor] : file.file.tensors) tensor.tiled = packs_in_place(tensor.dtype, tensor.shape);
}

void append_layout(Layout layout, GgufMetadata& metadata) {
  if (layout == Layout::tiles) metadata.emplace_back(kLayout, std::string(kTiles));
}

void append_config(const ModelConfig& c, GgufMetadata& metadata) {
  const auto put = [&](const char* name, GgufValue value) {
    metadata.emplace_back(key(name), std::move(value));
  };
  const Mamba3Config& m = c.mixer;
  put("block_count", small(c.n_layer));
  put("embedding_length", small(c.d_model));
  put("feed_forward_length", small(c.d_intermediate > 0 ? c.ffn_width : 0));
  put("vocab_size", small(c.vocab_size));
  put("vocab_size_multiple", small(c.pad_vocab_size_multiple));
  put(c.rms_norm ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
      static_cast<float>(kNormEpsilon));
  put("residual_in_fp32", c.residual_in_fp32);
  put("ssm.inner_size", small(m.d_inner()));
  put("ssm.state_size", small(m.d_state));
  put("ssm.time_step_rank", small(m.n_heads()));
  put("ssm.head_dim", small(m.headdim));
  put("ssm.group_count", small(m.ngroups));
  if (m.is_mimo) put("ssm.mimo_rank", small(m.mimo_rank));
  put("ssm.rope_fraction", m.rope_fraction);
  put("rope.dimension_count", small(2 * m.n_angles()));
  put("ssm.out_norm", m.is_outproj_norm);
  put("ssm.a_floor", m.A_floor);
  put("ssm.a_activation", std::string(m.A_activation == AActivation::softplus ? "softplus" : "heavy_tail"));
  put("ssm.chunk_size", small(c.chunk_size));
}

}  // namespace mamba3
