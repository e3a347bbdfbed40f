#include "model/store.h"

#include <cmath>
#include <cstring>

#include "core/threads.h"
#include "model/gguf_metadata.h"

namespace mamba3 {
namespace {

// Rows are what is converted at once: a matrix's rows are whole blocks, and vectors have rows of one value.
struct Rows {
  std::int64_t count, width;

  explicit Rows(const TensorView& tensor)
      : count(tensor.shape.empty() ? 1 : tensor.shape[0]), width(count > 0 ? tensor.elements() / count : 0) {}
};

}  // namespace

void store_tensor(const TensorView& from, DType type, const float* importance, std::span<std::byte> to) {
  if (from.dtype == type) {
    std::memcpy(to.data(), from.bytes.data(), to.size());
    return;
  }
  const Rows rows(from);
  const std::int64_t from_bytes = *bytes_of(from.dtype, rows.width), to_bytes = *bytes_of(type, rows.width);
  parallel_ranges(rows.count, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> row(static_cast<std::size_t>(rows.width));
    for (std::int64_t i = first; i < last; ++i) {
      to_float(from.dtype, from.bytes.data() + i * from_bytes, rows.width, row.data());
      from_float(type, row.data(), rows.width, to.data() + i * to_bytes, importance);
    }
  });
}

double SquaredError::relative_rms() const {
  return total > 0 ? std::sqrt(error / total) : 0;
}

SquaredError squared_error(const TensorView& a, const TensorView& b) {
  const Rows rows(a);
  const std::int64_t a_bytes = *bytes_of(a.dtype, rows.width), b_bytes = *bytes_of(b.dtype, rows.width);
  std::vector<SquaredError> parts(static_cast<std::size_t>(rows.count));
  parallel_ranges(rows.count, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> x(static_cast<std::size_t>(rows.width)), y(x.size());
    for (std::int64_t i = first; i < last; ++i) {
      to_float(a.dtype, a.bytes.data() + i * a_bytes, rows.width, x.data());
      to_float(b.dtype, b.bytes.data() + i * b_bytes, rows.width, y.data());
      SquaredError part;
      for (std::size_t j = 0; j < x.size(); ++j) {
        const double off = double{y[j]} - x[j];
        part.error += off * off;
        part.total += double{x[j]} * x[j];
      }
      parts[static_cast<std::size_t>(i)] = part;
    }
  });
  SquaredError sum;
  for (const SquaredError& part : parts) {
    sum.error += part.error;
    sum.total += part.total;
  }
  return sum;
}

void write_model_gguf(const Checkpoint& checkpoint, const std::filesystem::path& path,
                      std::uint32_t file_type, const std::vector<DType>& types, const GgufMetadata& more,
                      const FillTensor& fill) {
  GgufMetadata metadata = {{"general.architecture", std::string("mamba3")},
                           {"general.name", std::filesystem::path(checkpoint.name).filename().string()},
                           {"general.file_type", file_type},
                           {"general.quantization_version", std::uint32_t{2}}};
  append_config(checkpoint.config, metadata);
  if (checkpoint.tokenizer) append_tokenizer(*checkpoint.tokenizer, checkpoint.config.vocab_rows(), metadata);
  metadata.insert(metadata.end(), more.begin(), more.end());
  std::vector<TensorToWrite> tensors;
  for (std::size_t i = 0; i < types.size(); ++i) {
    tensors.push_back({checkpoint.parameters[i].gguf, types[i], checkpoint.parameters[i].shape});
  }
  write_gguf(path, metadata, tensors, fill);
}

}  // namespace mamba3
