#include "model/importance.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "formats/gguf.h"
#include "formats/shown.h"

namespace mamba3 {
namespace {

constexpr const char* kType = "general.type";
constexpr const char* kImatrix = "imatrix";
constexpr const char* kDatasets = "imatrix.datasets";
constexpr const char* kChunks = "imatrix.chunk_count";
constexpr const char* kChunkTokens = "imatrix.chunk_size";
constexpr const char* kSums = ".in_sum2";
constexpr const char* kCounts = ".counts";

/// Values of a float32 tensor that has `expected` of them.
std::vector<float> floats(const TensorFile& file, const std::string& name, std::int64_t expected) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end()) {
    fail(ErrorCode::bad_format, "{}: the importance matrix has no {}, so it is not of this model", file.name,
         shown(name));
  }
  const TensorView& tensor = found->second;
  if (tensor.dtype != DType::f32 || tensor.elements() != expected) {
    fail(ErrorCode::bad_format, "{}: {} holds {} values of type {}, expected {} of F32 for this model",
         file.name, shown(name), tensor.elements(), name_of(tensor.dtype), expected);
  }
  std::vector<float> values(static_cast<std::size_t>(expected));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  const auto bad = std::ranges::find_if(values, [](float v) { return !(v >= 0) || std::isinf(v); });
  if (bad != values.end()) {
    fail(ErrorCode::bad_format, "{}: {} holds {} at element {}, expected finite numbers from 0 up", file.name,
         shown(name), *bad, bad - values.begin());
  }
  return values;
}

ImportanceMatrix::Entry entry(const TensorFile& file, const Parameter& p) {
  ImportanceMatrix::Entry result;
  result.mean_squares = floats(file, p.gguf + kSums, p.shape.back());
  const float count = floats(file, p.gguf + kCounts, 1).front();
  if (count < 1) {
    fail(ErrorCode::bad_format, "{}: {} is {}, expected at least one token", file.name,
         shown(p.gguf + kCounts), count);
  }
  for (float& value : result.mean_squares) value /= count;
  result.tokens = static_cast<std::int64_t>(std::min(count, 0x1p62f));
  return result;
}

void refuse_strangers(const TensorFile& file, const ImportanceMatrix& matrix) {
  for (const auto& [name, tensor] : file.tensors) {
    const std::string_view owner = std::string_view(name).substr(0, name.rfind('.'));
    if (!matrix.entries.contains(std::string(owner))) {
      fail(ErrorCode::bad_format, "{}: the importance matrix has {}, which this model has not", file.name,
           shown(name));
    }
  }
}

}  // namespace

const float* ImportanceMatrix::columns(const std::string& tensor) const {
  const auto found = entries.find(tensor);
  return found == entries.end() ? nullptr : found->second.mean_squares.data();
}

std::vector<const Parameter*> product_matrices(const ParameterTable& parameters) {
  const bool own_head =
      std::ranges::find(parameters, std::string("head"), &Parameter::name) != parameters.end();
  std::vector<const Parameter*> matrices;
  for (const Parameter& p : parameters) {
    if (p.precision == Precision::weight && !(own_head && p.name == "embedding")) matrices.push_back(&p);
  }
  return matrices;
}

void save_importance(const ImportanceMatrix& matrix, const std::filesystem::path& path) {
  const GgufMetadata metadata = {{kType, std::string(kImatrix)},
                                 {kDatasets, std::vector<std::string>{matrix.dataset}},
                                 {kChunks, static_cast<std::uint32_t>(matrix.chunks)},
                                 {kChunkTokens, static_cast<std::uint32_t>(matrix.chunk_tokens)}};
  std::vector<TensorToWrite> tensors;
  std::vector<std::vector<float>> values;
  for (const auto& [name, entry] : matrix.entries) {
    const auto tokens = static_cast<float>(entry.tokens);
    std::vector<float> sums = entry.mean_squares;
    for (float& value : sums) value *= tokens;
    tensors.push_back({name + kSums, DType::f32, {1, std::ssize(sums)}});
    values.push_back(std::move(sums));
    tensors.push_back({name + kCounts, DType::f32, {1, 1}});
    values.push_back({tokens});
  }
  write_gguf(path, metadata, tensors, [&](std::size_t i, std::span<std::byte> out) {
    std::memcpy(out.data(), values[i].data(), out.size());
  });
}

ImportanceMatrix load_importance(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  const GgufFile gguf = read_gguf(path);
  const std::string* type = gguf.find_text(kType);
  if (type == nullptr || *type != kImatrix) {
    fail(ErrorCode::bad_format, "{}: not an importance matrix: {} is {}, expected {}", path.string(), kType,
         type == nullptr ? "missing" : shown(*type), kImatrix);
  }
  ImportanceMatrix matrix;
  matrix.file = path.string();
  const auto* datasets = gguf.find_texts(kDatasets);
  if (datasets != nullptr && !datasets->empty()) matrix.dataset = datasets->front();
  matrix.chunks = gguf.find_integer(kChunks).value_or(0);
  matrix.chunk_tokens = gguf.find_integer(kChunkTokens).value_or(0);
  for (const Parameter* p : product_matrices(checkpoint.parameters)) {
    matrix.entries[p->gguf] = entry(gguf.file, *p);
  }
  refuse_strangers(gguf.file, matrix);
  return matrix;
}

}  // namespace mamba3
