#include "model/quantize.h"

#include <algorithm>
#include <array>

#include "core/error.h"
#include "model/gguf_metadata.h"
#include "model/store.h"
#include "ops/linear/layout.h"
#include "ops/linear/pack.h"

namespace mamba3 {
namespace {

using enum DType;

// file_type: llama.cpp's LLAMA_FTYPE_*; a plain K-quant is its "S" kind.
constexpr std::array kRecipes = {
    Recipe{"q8_0", q8_0, q8_0, q8_0, 7},  Recipe{"q6_k", q6_k, q6_k, q6_k, 18},
    Recipe{"q5_k", q5_k, q5_k, q5_k, 16}, Recipe{"q4_k_m", q4_k, q6_k, q6_k, 15},
    Recipe{"q4_k", q4_k, q4_k, q4_k, 14}, Recipe{"q5_1", q5_1, q5_1, q5_1, 9},
    Recipe{"q5_0", q5_0, q5_0, q5_0, 8},  Recipe{"q4_0", q4_0, q4_0, q4_0, 2},
    Recipe{"bf16", bf16, bf16, bf16, 32}, Recipe{"f16", f16, f16, f16, 1},
    Recipe{"f32", f32, f32, f32, 0},
};

// "mixer.out_proj" of "layers.3.mixer.out_proj"; the whole name outside the layers.
std::string_view local_name(std::string_view name) {
  if (!name.starts_with("layers.")) return name;
  name.remove_prefix(std::string_view("layers.").size());
  return name.substr(name.find('.') + 1);
}

DType wanted_type(const Recipe& recipe, const Parameter& p) {
  if (p.precision == Precision::exact) return f32;
  if (p.name == "embedding" || p.name == "head") return recipe.vocabulary;
  return local_name(p.name) == "mixer.out_proj" ? recipe.out_proj : recipe.matrices;
}

// Values between two reports of progress: a fifth of a second of the slowest search.
constexpr std::int64_t kValuesAtOnce = std::int64_t{1} << 20;

// As many rows as that, in whole tiles.
std::int64_t rows_at_once(std::int64_t width) {
  return std::max(cpu::kTileRows, kValuesAtOnce / width / cpu::kTileRows * cpu::kTileRows);
}

class Quantizer {
 public:
  Quantizer(const Checkpoint& checkpoint, const QuantizeOptions& options, const QuantizeProgress& progress)
      : checkpoint_(checkpoint), options_(options), progress_(progress) {
    for (const Parameter& p : checkpoint.parameters) all_ += *checked_elements(p.shape);
  }

  QuantizedTensor fill(const Parameter& p, PlannedType type, std::span<std::byte> out) {
    const TensorView& from = checkpoint_.tensor(p.name);
    const float* importance = nullptr;
    if (options_.importance != nullptr && p.precision == Precision::weight) {
      importance = options_.importance->columns(p.gguf);
    }
    const std::int64_t width = from.elements() / from.shape[0];
    const std::int64_t at_once = rows_at_once(width);
    const bool tiled = options_.layout == Layout::tiles && packs_in_place(type.stored, p.shape);
    SquaredError sum;
    for (std::int64_t row = 0; row < from.shape[0]; row += at_once) {
      const std::int64_t rows = std::min(at_once, from.shape[0] - row), bytes = *bytes_of(type.stored, width);
      const TensorView part = rows_of(from, row, rows);
      const auto to =
          out.subspan(static_cast<std::size_t>(row * bytes), static_cast<std::size_t>(rows * bytes));
      const TensorView written{type.stored, part.shape, to, tiled};
      store(p, part, written, importance, to);
      const SquaredError off = squared_error(part, written);
      sum.error += off.error;
      sum.total += off.total;
      done_ += rows * width;
      if (progress_) progress_(done_, all_);
    }
    return {p.gguf, p.shape, from.dtype, type.wanted, type.stored, std::ssize(out), sum.relative_rms()};
  }

 private:
  // Fills `to`, the bytes of `as`.
  void store(const Parameter& p, const TensorView& from, const TensorView& as, const float* importance,
             std::span<std::byte> to) {
    if (as.tiled) rows_.resize(to.size());
    const std::span<std::byte> rows = as.tiled ? std::span(rows_) : to;
    try {
      store_tensor(from, as.dtype, importance, rows);
    } catch (const Error& error) {
      fail(error.code(), "{}: tensor {}: {}", checkpoint_.name, p.gguf, error.what());
    }
    if (as.tiled) pack(matrix_of({as.dtype, as.shape, rows}), to.data());
  }

  const Checkpoint& checkpoint_;
  const QuantizeOptions& options_;
  const QuantizeProgress& progress_;
  std::vector<std::byte> rows_;  // what is packed next
  std::int64_t done_ = 0, all_ = 0;
};

void refuse_requantizing(const Checkpoint& checkpoint, const std::vector<PlannedType>& types) {
  for (std::size_t i = 0; i < types.size(); ++i) {
    const Parameter& p = checkpoint.parameters[i];
    const DType from = checkpoint.tensor(p.name).dtype;
    if (is_quantized(from) && from != types[i].stored) {
      fail(ErrorCode::invalid_argument,
           "{}: tensor {} is quantized already ({}), and making it {} adds its error to that: begin with the "
           "original, or allow it with --allow-requantize",
           checkpoint.name, p.gguf, name_of(from), name_of(types[i].stored));
    }
  }
}

GgufMetadata traces(const QuantizeOptions& options) {
  GgufMetadata metadata;
  append_layout(options.layout, metadata);
  const ImportanceMatrix* importance = options.importance;
  if (importance == nullptr) return metadata;
  metadata.insert(metadata.end(),
                  {{"quantize.imatrix.file", importance->file},
                   {"quantize.imatrix.dataset", importance->dataset},
                   {"quantize.imatrix.entries_count", static_cast<std::int32_t>(importance->entries.size())},
                   {"quantize.imatrix.chunks_count", static_cast<std::int32_t>(importance->chunks)}});
  return metadata;
}

}  // namespace

std::optional<Recipe> recipe_named(std::string_view name) {
  const auto found = std::ranges::find(kRecipes, name, &Recipe::name);
  return found == kRecipes.end() ? std::nullopt : std::optional(*found);
}

std::vector<std::string> recipe_names() {
  std::vector<std::string> names;
  for (const Recipe& recipe : kRecipes) names.emplace_back(recipe.name);
  return names;
}

Recipe uniform_recipe(DType type) {
  const auto found = std::ranges::find_if(
      kRecipes, [&](const Recipe& recipe) { return recipe.matrices == type && recipe.vocabulary == type; });
  if (found == kRecipes.end()) fail(ErrorCode::unsupported, "a model cannot be written as {}", name_of(type));
  return *found;
}

std::vector<PlannedType> planned_types(const Checkpoint& checkpoint, const Recipe& recipe) {
  std::vector<PlannedType> types;
  for (const Parameter& p : checkpoint.parameters) {
    const DType wanted = wanted_type(recipe, p);
    types.push_back({wanted, fitting_type(wanted, p.shape.back())});
  }
  return types;
}

std::vector<QuantizedTensor> quantize(const Checkpoint& checkpoint, const std::filesystem::path& path,
                                      const Recipe& recipe, const QuantizeOptions& options,
                                      const QuantizeProgress& progress) {
  const std::vector<PlannedType> planned = planned_types(checkpoint, recipe);
  if (!options.allow_requantize) refuse_requantizing(checkpoint, planned);
  std::vector<DType> types;
  for (const PlannedType& type : planned) types.push_back(type.stored);
  std::vector<QuantizedTensor> report;
  Quantizer quantizer(checkpoint, options, progress);
  write_model_gguf(checkpoint, path, recipe.file_type, types, traces(options),
                   [&](std::size_t i, std::span<std::byte> out) {
                     report.push_back(quantizer.fill(checkpoint.parameters[i], planned[i], out));
                   });
  return report;
}

void save_gguf(const Checkpoint& checkpoint, const std::filesystem::path& path, DType type, Layout layout) {
  quantize(checkpoint, path, uniform_recipe(type), {.allow_requantize = true, .layout = layout});
}

}  // namespace mamba3
