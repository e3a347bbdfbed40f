// A model at rest: its shape, its tensors by internal name, its tokenizer. Loads and saves every format by
// the one table of parameters.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/parameter.h"
#include "core/tensor.h"
#include "mamba3/tokenizer.h"
#include "model/config.h"
#include "model/rows.h"

namespace mamba3 {

struct Checkpoint {
  std::string name;    ///< for messages: the path as given
  std::string format;  ///< "safetensors", "torch", "gguf" or "random"
  ModelConfig config;
  ParameterTable parameters;
  std::map<std::string, TensorView> tensors;  ///< by Parameter::name; views into `owners`
  std::optional<Tokenizer> tokenizer;
  std::vector<std::shared_ptr<const void>> owners;

  /// The tensor of a parameter. Precondition: it is in the table.
  const TensorView& tensor(const std::string& parameter) const { return tensors.at(parameter); }
};

/// The table: every parameter of a model in order, mixer rows as the mixer's folder gives them. A tied head
/// has no row of its own. config.ffn_width must be set when d_intermediate > 0.
ParameterTable parameter_table(const ModelConfig& config);

/// An official folder, or a .gguf file. Maps weights, reads none of them. Throws Error.
Checkpoint load_checkpoint(const std::filesystem::path& path);
/// A GGUF in memory, which must outlive the result.
Checkpoint parse_gguf_checkpoint(std::span<const std::byte> bytes, const std::string& name);

/// Named shapes of the specification ("mamba3-siso-187m", ...) with seeded random weights, matrices of
/// `type`.
Checkpoint random_checkpoint(std::string_view shape, std::uint64_t seed, DType type);
/// The same for any shape.
Checkpoint random_checkpoint(const ModelConfig& config, std::string_view name, std::uint64_t seed,
                             DType type);
std::vector<std::string> random_shapes();

/// Writes a .gguf file; matrices as `type` (or what fits its rows, see fitting_type in core/dtype.h),
/// parameters of exact precision as float32. Atomic. More choices: quantize (model/quantize.h).
void save_gguf(const Checkpoint& checkpoint, const std::filesystem::path& path, DType type,
               Layout layout = Layout::rows);
/// Writes an official folder (config.json, model.safetensors, tokenizer.json); matrices, in_proj whole, as
/// f32, f16 or bf16, all else as float32. Refuses a folder that is there and not empty. Atomic.
void save_folder(const Checkpoint& checkpoint, const std::filesystem::path& path, DType type);

}  // namespace mamba3
