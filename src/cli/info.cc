// mamba3 info: what a file or folder holds; what devices there are.
#include <map>
#include <memory>

#include "cli/commands.h"
#include "cli/devices.h"
#include "cli/options.h"
#include "cli/output.h"
#include "core/error.h"
#include "model/inspect.h"

namespace mamba3::cli {
namespace {

struct InfoOptions {
  std::string path;
  bool check = false, devices = false, json = false;
};

struct TypeTotal {
  std::int64_t tensors = 0, elements = 0, bytes = 0;
};

std::map<std::string, TypeTotal> totals_by_type(const Inspection& inspection) {
  std::map<std::string, TypeTotal> totals;
  for (const TensorFacts& tensor : inspection.tensors) {
    TypeTotal& total = totals[tensor.type];
    ++total.tensors;
    total.elements += tensor.elements;
    total.bytes += tensor.bytes;
  }
  return totals;
}

/// The architecture, one fact a row.
Json architecture(const ModelConfig& c) {
  const Mamba3Config& m = c.mixer;
  Json rows = {{"layer", m.is_mimo ? "Mamba-3 MIMO" : "Mamba-3 SISO"},
               {"d_model", c.d_model},
               {"n_layer", c.n_layer},
               {"vocab_size", c.vocab_size},
               {"vocab_rows", c.vocab_rows()},
               {"d_intermediate", c.d_intermediate},
               {"ffn_width", c.ffn_width},
               {"norm", c.rms_norm ? "RMSNorm" : "LayerNorm"},
               {"tie_embeddings", c.tie_embeddings},
               {"d_state", m.d_state},
               {"expand", m.expand},
               {"headdim", m.headdim},
               {"n_heads", m.n_heads()},
               {"ngroups", m.ngroups},
               {"mimo_rank", m.rank()},
               {"rope_fraction", m.rope_fraction},
               {"n_angles", m.n_angles()},
               {"is_outproj_norm", m.is_outproj_norm},
               {"A_floor", m.A_floor},
               {"A_activation", m.A_activation == AActivation::softplus ? "softplus" : "heavy_tail"}};
  return rows;
}

Json to_json(const Tokenizer& tokenizer) {
  const auto start = tokenizer.start_token();
  return {{"vocab_size", tokenizer.vocab_size()},
          {"start_token", start ? Json(*start) : Json()},
          {"end_tokens", tokenizer.end_tokens()}};
}

Json to_json(const Inspection& i, bool checked) {
  Json json = {{"path", i.name}, {"kind", i.kind}};
  if (checked) json["check"] = "sound";
  if (!i.remark.empty()) json["remark"] = i.remark;
  if (i.config) {
    json["architecture"] = architecture(*i.config);
    json["parameters"] = i.parameters;
    json["state_bytes"] = i.state_bytes;
  }
  if (i.tokenizer) json["tokenizer"] = to_json(*i.tokenizer);
  for (const auto& [type, total] : totals_by_type(i)) {
    json["dtypes"][type] = {{"tensors", total.tensors}, {"elements", total.elements}, {"bytes", total.bytes}};
  }
  for (const auto& [key, value] : i.metadata) json["metadata"][key] = value;
  for (const TensorFacts& t : i.tensors) {
    json["tensors"].push_back({{"name", t.name},
                               {"dtype", t.type},
                               {"shape", t.shape},
                               {"bytes", t.bytes},
                               {"layout", t.tiled ? "tiles" : "rows"}});
  }
  return json;
}

std::string row(std::string_view name, const std::string& value) {
  return fmt::format("{:<18} {}\n", name, value);
}

std::string model_rows(const Inspection& i) {
  std::string text;
  const Json rows = architecture(*i.config);
  for (const auto& [name, value] : rows.items()) {
    text += row(name, value.is_string() ? value.get<std::string>() : value.dump());
  }
  text +=
      row("parameters", fmt::format("{} ({:.1f} M)", i.parameters, 1e-6 * static_cast<double>(i.parameters)));
  return text + row("state", fmt::format("{} a session ({} bytes)",
                                         shown_bytes(static_cast<double>(i.state_bytes)), i.state_bytes));
}

std::string tokenizer_row(const Tokenizer& tokenizer) {
  const auto start = tokenizer.start_token();
  return row("tokenizer",
             fmt::format("{} tokens, start {}, end {}", tokenizer.vocab_size(),
                         start ? fmt::format("{}", *start) : "none", fmt::join(tokenizer.end_tokens(), " ")));
}

std::string to_text(const Inspection& i, bool checked) {
  std::string text = row("path", i.name) + row("kind", i.kind);
  if (!i.remark.empty()) text += row("remark", i.remark);
  if (i.config) text += model_rows(i);
  if (i.tokenizer) text += tokenizer_row(*i.tokenizer);
  for (const auto& [type, total] : totals_by_type(i)) {
    text += row(type, fmt::format("{} tensors, {} values, {}", total.tensors, total.elements,
                                  shown_bytes(static_cast<double>(total.bytes))));
  }
  if (!i.metadata.empty()) text += "\nmetadata\n";
  for (const auto& [key, value] : i.metadata)
    text += fmt::format("  {} = {}\n", printable(key), printable(value));
  if (!i.tensors.empty()) text += "\ntensors\n";
  for (const TensorFacts& t : i.tensors) {
    text += fmt::format("  {:<48} {:<7} [{}]{}\n", printable(t.name), t.type, fmt::join(t.shape, ", "),
                        t.tiled ? " in tiles" : "");
  }
  return checked ? text + "\nsound: every byte was read\n" : text;
}

void info(const InfoOptions& options) {
  if (options.devices) return print_devices(options.json);
  const Inspection inspection = options.path.empty()
                                    ? inspect_gguf(require_default_model(), kDefaultModelName, options.check)
                                    : inspect(options.path, options.check);
  if (options.json) {
    print_json(to_json(inspection, options.check));
  } else {
    print(to_text(inspection, options.check));
  }
}

}  // namespace

void add_info(CLI::App& program) {
  auto options = std::make_shared<InfoOptions>();
  CLI::App& command =
      *program.add_subcommand("info", "Shows what a model, a weights file or a tokenizer holds");
  command
      .add_option(
          "path", options->path,
          "model folder, GGUF, safetensors or torch file, or tokenizer.json (default: the built-in model)")
      ->option_text("PATH");
  command.add_flag("--check", options->check, "read every byte and fail for what is not sound");
  command.add_flag("--devices", options->devices, "show where a model can run, instead of a model")
      ->excludes("path");
  add_json_flag(command, options->json);
  command.callback([options] { info(*options); });
}

}  // namespace mamba3::cli
