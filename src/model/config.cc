#include "model/config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace mamba3 {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::int64_t kMostLayers = 100'000;
constexpr std::int64_t kMostRows = std::int64_t{1} << 31;  // token ids are 32-bit

// One object of config.json; a missing or null key leaves the field at its default.
class Fields {
 public:
  Fields(const json& object, const std::string& where) : object_(object), where_(where) {
    if (!object.is_object())
      fail(ErrorCode::bad_format, "{} holds {}, expected an object", where, object.type_name());
  }

  const json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }

  void read(const char* key, std::int64_t& field) const {
    const json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_number_integer() ||
        (value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX)) {
      wrong(key, *value, "an integer");
    }
    field = value->get<std::int64_t>();
  }

  void read(const char* key, bool& field) const {
    const json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_boolean()) wrong(key, *value, "true or false");
    field = value->get<bool>();
  }

  void read(const char* key, double& field) const {
    const json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_number()) wrong(key, *value, "a number");
    field = value->get<double>();
  }

  void read(const char* key, std::string& field) const {
    const json* value = find(key);
    if (value == nullptr) return;
    if (!value->is_string()) wrong(key, *value, "a string");
    field = value->get<std::string>();
  }

 private:
  [[noreturn]] void wrong(const char* key, const json& value, const char* expected) const {
    fail(ErrorCode::bad_format, "{}: {} is {}, expected {}", where_, key,
         value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 80), expected);
  }

  const json& object_;
  const std::string& where_;
};

void read_mixer(const Fields& ssm, const std::string& where, ModelConfig& config) {
  std::string layer = "Mamba1";  // the reference's default
  ssm.read("layer", layer);
  if (layer != "Mamba3") {
    fail(ErrorCode::unsupported, "{}: the layer type is {}, and only Mamba3 is built yet", where, layer);
  }
  Mamba3Config& m = config.mixer;
  ssm.read("d_state", m.d_state);
  ssm.read("expand", m.expand);
  ssm.read("headdim", m.headdim);
  ssm.read("ngroups", m.ngroups);
  ssm.read("rope_fraction", m.rope_fraction);
  ssm.read("is_mimo", m.is_mimo);
  ssm.read("mimo_rank", m.mimo_rank);
  ssm.read("is_outproj_norm", m.is_outproj_norm);
  ssm.read("A_floor", m.A_floor);
  ssm.read("chunk_size", config.chunk_size);
  std::string activation = "heavy_tail";
  ssm.read("A_activation", activation);
  if (activation != "heavy_tail" && activation != "softplus") {
    fail(ErrorCode::unsupported, "{}: A_activation is {}, expected heavy_tail or softplus", where,
         activation);
  }
  m.A_activation = activation == "softplus" ? AActivation::softplus : AActivation::heavy_tail;
}

json parse_object(std::string_view text, const std::string& where) {
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    fail(ErrorCode::bad_format, "{} is not JSON: {}", where, error.what());
  }
}

void check_range(const std::string& where, const char* key, std::int64_t value, std::int64_t least,
                 std::int64_t most) {
  if (value < least || value > most) {
    fail(ErrorCode::invalid_argument, "{}: {} is {}, expected {} to {}", where, key, value, least, most);
  }
}

}  // namespace

void ModelConfig::check(const std::string& where) const {
  check_range(where, "n_layer", n_layer, 1, kMostLayers);
  check_range(where, "vocab_size", vocab_size, 1, kMostRows / 2);
  check_range(where, "pad_vocab_size_multiple", pad_vocab_size_multiple, 1, kMostRows / 2);
  check_range(where, "d_intermediate", d_intermediate, 0, std::int64_t{1} << 24);
  check_range(where, "chunk_size", chunk_size, 1, std::int64_t{1} << 24);
  mixer.check(where.c_str());
}

ModelConfig parse_config(std::string_view text, const std::string& where) {
  const json object = parse_object(text, where);
  const Fields fields(object, where);
  ModelConfig config;
  for (const char* key : {"d_model", "n_layer", "vocab_size"}) {
    if (fields.find(key) == nullptr) fail(ErrorCode::bad_format, "{}: {} is missing", where, key);
  }
  fields.read("d_model", config.d_model);
  fields.read("n_layer", config.n_layer);
  fields.read("vocab_size", config.vocab_size);
  fields.read("d_intermediate", config.d_intermediate);
  fields.read("rms_norm", config.rms_norm);
  fields.read("residual_in_fp32", config.residual_in_fp32);
  fields.read("fused_add_norm", config.fused_add_norm);
  fields.read("tie_embeddings", config.tie_embeddings);
  fields.read("pad_vocab_size_multiple", config.pad_vocab_size_multiple);
  config.mixer.d_model = config.d_model;
  const json none = json::object();
  const json* ssm = fields.find("ssm_cfg");
  const std::string inside = where + ": ssm_cfg";
  read_mixer(Fields(ssm == nullptr ? none : *ssm, inside), where, config);
  if (const json* layers = fields.find("attn_layer_idx")) {
    if (!layers->is_array()) fail(ErrorCode::bad_format, "{}: attn_layer_idx is not a list", where);
    if (!layers->empty()) {
      fail(ErrorCode::unsupported,
           "{}: attn_layer_idx asks for attention in {} layers, which is not built yet", where,
           layers->size());
    }
  }
  config.check(where);
  return config;
}

std::string config_to_json(const ModelConfig& c) {
  const Mamba3Config& m = c.mixer;
  ordered_json ssm = {{"layer", "Mamba3"},          {"d_state", m.d_state},
                      {"expand", m.expand},         {"headdim", m.headdim},
                      {"ngroups", m.ngroups},       {"rope_fraction", m.rope_fraction},
                      {"chunk_size", c.chunk_size}, {"is_mimo", m.is_mimo}};
  if (m.is_mimo) ssm["mimo_rank"] = m.mimo_rank;
  ssm["is_outproj_norm"] = m.is_outproj_norm;
  ssm["A_floor"] = m.A_floor;
  ssm["A_activation"] = m.A_activation == AActivation::softplus ? "softplus" : "heavy_tail";
  const ordered_json config = {{"d_model", c.d_model},
                               {"d_intermediate", c.d_intermediate},
                               {"n_layer", c.n_layer},
                               {"vocab_size", c.vocab_size},
                               {"ssm_cfg", ssm},
                               {"attn_layer_idx", ordered_json::array()},
                               {"attn_cfg", ordered_json::object()},
                               {"rms_norm", c.rms_norm},
                               {"residual_in_fp32", c.residual_in_fp32},
                               {"fused_add_norm", c.fused_add_norm},
                               {"pad_vocab_size_multiple", c.pad_vocab_size_multiple},
                               {"tie_embeddings", c.tie_embeddings}};
  return config.dump(1) + "\n";
}

}  // namespace mamba3
