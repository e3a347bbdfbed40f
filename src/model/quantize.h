// A model's matrices as quantized types: which tensor becomes what, and the work itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/checkpoint.h"
#include "model/importance.h"

namespace mamba3 {

/// What the matrices become; parameters of exact precision are float32 always.
struct Recipe {
  std::string_view name;    ///< "q4_k_m"
  DType matrices;           ///< of the layers
  DType vocabulary;         ///< embedding and head
  DType out_proj;           ///< the mixers' last product, where an error costs most (docs/numerics.md)
  std::uint32_t file_type;  ///< llama.cpp's number for general.file_type
};

/// By its name; nothing for another.
std::optional<Recipe> recipe_named(std::string_view name);
std::vector<std::string> recipe_names();
/// All matrices as one type: f32, f16, bf16 or a quantized one.
Recipe uniform_recipe(DType type);

/// The types of all parameters in the table's order. Where a type's blocks do not divide a row, fitting_type
/// (core/dtype.h) says what takes its place.
struct PlannedType {
  DType wanted, stored;
};
std::vector<PlannedType> planned_types(const Checkpoint& checkpoint, const Recipe& recipe);

struct QuantizedTensor {
  std::string name;  ///< in the GGUF file
  Shape shape;
  DType from, wanted, to;
  std::int64_t bytes = 0;
  double relative_rms = 0;  ///< |stored - source| / |source|
};

struct QuantizeOptions {
  const ImportanceMatrix* importance = nullptr;  ///< of this model (load_importance)
  bool allow_requantize = false;                 ///< quantized matrices may become another type
  Layout layout = Layout::rows;
};

/// Called as work goes on: values that are done, of all.
using QuantizeProgress = std::function<void(std::int64_t done, std::int64_t all)>;

/// Writes the model as a .gguf. The same bytes for any number of threads. Atomic. Throws Error:
/// invalid_argument for a quantized source without allow_requantize, numeric (the tensor named) for values
/// that a type cannot hold, io.
std::vector<QuantizedTensor> quantize(const Checkpoint& checkpoint, const std::filesystem::path& path,
                                      const Recipe& recipe, const QuantizeOptions& options = {},
                                      const QuantizeProgress& progress = {});

}  // namespace mamba3
