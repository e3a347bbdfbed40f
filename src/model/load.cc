// From a folder or a GGUF file to a Checkpoint. Weights are mapped, none are read.
#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/mapped_file.h"
#include "formats/gguf.h"
#include "formats/tensor_file.h"
#include "model/checkpoint.h"
#include "model/gguf_metadata.h"

namespace mamba3 {
namespace {

namespace fs = std::filesystem;

std::string shown(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// One tensor of a file, of the shape the table expects.
const TensorView& find(const TensorFile& file, const std::string& name, const Shape& expected) {
  if (const auto foreign = file.foreign.find(name); foreign != file.foreign.end()) {
    fail(ErrorCode::unsupported, "{}: tensor {} is of type {}, expected one of {}", file.name, name,
         foreign->second.type, fmt::join(float_type_names(), ", "));
  }
  const auto at = file.tensors.find(name);
  if (at == file.tensors.end()) {
    fail(ErrorCode::bad_format, "{}: tensor {} is missing, expected {}", file.name, name, shown(expected));
  }
  if (at->second.shape != expected) {
    fail(ErrorCode::bad_format, "{}: tensor {} has shape {}, expected {} by the configuration", file.name,
         name, shown(at->second.shape), shown(expected));
  }
  if (!is_float(at->second.dtype)) {
    fail(ErrorCode::bad_format, "{}: tensor {} has type {}, expected real numbers", file.name, name,
         name_of(at->second.dtype));
  }
  return at->second;
}

// Refuses a layer count that the file cannot hold before a table of that size is made.
void check_layers(const ModelConfig& config, const TensorFile& file) {
  const std::size_t tensors = file.tensors.size() + file.foreign.size();
  if (config.n_layer > static_cast<std::int64_t>(tensors)) {
    fail(ErrorCode::bad_format, "{}: n_layer is {}, but the weights are only {} tensors", file.name,
         config.n_layer, tensors);
  }
}

// Several parameters may be rows of one official tensor.
std::map<std::string, Shape> official_shapes(const ParameterTable& table) {
  std::map<std::string, Shape> shapes;
  for (const Parameter& p : table) {
    const auto [at, first] = shapes.try_emplace(p.official, p.shape);
    if (!first) at->second[0] += p.shape[0];
  }
  return shapes;
}

// F is what is stored: half of the rows of fc1.
std::int64_t stored_ffn_width(const TensorFile& file) {
  const std::string name = "backbone.layers.0.mlp.fc1.weight";
  const auto at = file.tensors.find(name);
  if (at == file.tensors.end()) {
    fail(ErrorCode::bad_format, "{}: tensor {} is missing, though d_intermediate is not 0", file.name, name);
  }
  const Shape& shape = at->second.shape;
  if (shape.size() != 2 || shape[0] < 2 || shape[0] % 2 != 0) {
    fail(ErrorCode::bad_format, "{}: tensor {} has shape {}, expected two halves of rows", file.name, name,
         shown(shape));
  }
  return shape[0] / 2;
}

void refuse_strangers(const TensorFile& file, const std::map<std::string, Shape>& known) {
  for (const auto& [name, tensor] : file.tensors) {
    if (name.starts_with("backbone.") && !known.contains(name)) {
      fail(ErrorCode::bad_format, "{}: tensor {} has no place in the model that config.json describes",
           file.name, name);
    }
  }
}

Checkpoint load_folder(const fs::path& folder) {
  const fs::path config_path = folder / "config.json";
  if (!fs::is_regular_file(config_path)) {
    fail(ErrorCode::not_found, "{}: the folder holds no config.json", folder.string());
  }
  const MappedFile config_file(config_path);
  Checkpoint checkpoint;
  checkpoint.name = folder.string();
  checkpoint.config =
      parse_config({reinterpret_cast<const char*>(config_file.bytes().data()), config_file.bytes().size()},
                   config_path.string());

  TensorFile file = read_weights_folder(folder);
  checkpoint.format = file.format;
  check_layers(checkpoint.config, file);
  if (checkpoint.config.d_intermediate > 0) checkpoint.config.ffn_width = stored_ffn_width(file);
  checkpoint.parameters = parameter_table(checkpoint.config);
  const auto shapes = official_shapes(checkpoint.parameters);
  for (const Parameter& p : checkpoint.parameters) {
    const TensorView& whole = find(file, p.official, shapes.at(p.official));
    checkpoint.tensors[p.name] = rows_of(whole, p.official_row, p.shape[0]);
  }
  refuse_strangers(file, shapes);
  checkpoint.owners = std::move(file.owners);
  if (const fs::path tokenizer = folder / "tokenizer.json"; fs::exists(tokenizer)) {
    checkpoint.tokenizer = Tokenizer::from_file(tokenizer);
  }
  return checkpoint;
}

Checkpoint from_gguf(GgufFile gguf, const std::string& name) {
  Checkpoint checkpoint;
  checkpoint.name = name;
  checkpoint.format = "gguf";
  checkpoint.config = config_from_gguf(gguf);
  apply_layout(gguf);
  check_layers(checkpoint.config, gguf.file);
  checkpoint.parameters = parameter_table(checkpoint.config);
  for (const Parameter& p : checkpoint.parameters)
    checkpoint.tensors[p.name] = find(gguf.file, p.gguf, p.shape);
  checkpoint.tokenizer = tokenizer_from_gguf(gguf);
  checkpoint.owners = std::move(gguf.file.owners);
  return checkpoint;
}

void check_tokenizer(const Checkpoint& checkpoint) {
  if (!checkpoint.tokenizer) return;
  const std::int64_t words = checkpoint.tokenizer->vocab_size(), rows = checkpoint.config.vocab_rows();
  if (words > rows) {
    fail(ErrorCode::bad_format, "{}: the tokenizer has ids up to {}, the embedding has only {} rows",
         checkpoint.name, words - 1, rows);
  }
}

}  // namespace

Checkpoint load_checkpoint(const fs::path& path) {
  if (!fs::exists(path)) fail(ErrorCode::not_found, "{}: there is no such file or folder", path.string());
  Checkpoint checkpoint =
      fs::is_directory(path) ? load_folder(path) : from_gguf(read_gguf(path), path.string());
  check_tokenizer(checkpoint);
  return checkpoint;
}

Checkpoint parse_gguf_checkpoint(std::span<const std::byte> bytes, const std::string& name) {
  Checkpoint checkpoint = from_gguf(parse_gguf(bytes, name), name);
  check_tokenizer(checkpoint);
  return checkpoint;
}

}  // namespace mamba3
