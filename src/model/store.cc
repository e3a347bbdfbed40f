#include "model/store.h"

#include <cmath>
#include <cstring>

#include "core/threads.h"
#include "model/gguf_metadata.h"
#include "model/rows.h"

namespace mamba3 {

void store_tensor(const TensorView& from, DType type, const float* importance, std::span<std::byte> to) {
  const StoredRows rows(from);
  const std::int64_t to_bytes = *bytes_of(type, rows.width());
  parallel_ranges(rows.count(), [&](std::int64_t first, std::int64_t last) {
    std::vector<float> values(static_cast<std::size_t>(rows.width()));
    std::vector<std::byte> memory;
    for (std::int64_t i = first; i < last; ++i) {
      const std::byte* row = rows.row(i, memory);
      if (from.dtype == type) {
        std::memcpy(to.data() + i * to_bytes, row, static_cast<std::size_t>(to_bytes));
        continue;
      }
      to_float(from.dtype, row, rows.width(), values.data());
      from_float(type, values.data(), rows.width(), to.data() + i * to_bytes, importance);
    }
  });
}

double SquaredError::relative_rms() const {
  return total > 0 ? std::sqrt(error / total) : 0;
}

SquaredError squared_error(const TensorView& a, const TensorView& b) {
  const StoredRows a_rows(a), b_rows(b);
  std::vector<SquaredError> parts(static_cast<std::size_t>(a_rows.count()));
  parallel_ranges(a_rows.count(), [&](std::int64_t first, std::int64_t last) {
    std::vector<float> x(static_cast<std::size_t>(a_rows.width())), y(x.size());
    std::vector<std::byte> memory;
    for (std::int64_t i = first; i < last; ++i) {
      to_float(a.dtype, a_rows.row(i, memory), a_rows.width(), x.data());
      to_float(b.dtype, b_rows.row(i, memory), b_rows.width(), y.data());
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
