#include "model/weights.h"

#include <cstring>

#include "core/mapped_file.h"
#include "core/threads.h"
#include "model/rows.h"
#include "ops/linear/pack.h"

namespace mamba3 {
namespace {

bool is_aligned(const TensorView& tensor, std::size_t bytes) {
  return reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % bytes == 0;
}

// What a matrix is packed as: the rows that steer the dynamics in float32 whatever the file has, since their
// activations are float32, too; float64 has no product of its own.
DType packed_type(const Parameter& parameter, DType stored) {
  return parameter.precision == Precision::exact || stored == DType::f64 ? DType::f32 : stored;
}

AlignedFloats to_floats(const TensorView& tensor) {
  AlignedFloats values(static_cast<std::size_t>(tensor.elements()));
  const StoredRows rows(tensor);
  parallel_ranges(rows.count(), [&](std::int64_t first, std::int64_t last) {
    std::vector<std::byte> memory;
    for (std::int64_t i = first; i < last; ++i) {
      to_float(tensor.dtype, rows.row(i, memory), rows.width(), values.data() + i * rows.width());
    }
  });
  return values;
}

// A matrix on its way into the products.
struct Source {
  const Parameter& parameter;
  const TensorView& tensor;
  DType type = packed_type(parameter, tensor.dtype);

  std::int64_t rows() const { return parameter.shape[0]; }
  std::int64_t cols() const { return parameter.shape[1]; }
  bool lies_ready() const {
    return tensor.tiled && type == tensor.dtype && is_aligned(tensor, kPackedAlignment);
  }
  // Of its own: none when it lies ready.
  std::size_t memory() const {
    if (lies_ready()) return 0;
    const auto bytes = static_cast<std::size_t>(packed_bytes(type, rows(), cols()));
    return (bytes + kPackedAlignment - 1) / kPackedAlignment * kPackedAlignment;
  }
  PackedMatrix packed_to(std::byte* place) const {
    if (type != tensor.dtype) {
      const AlignedFloats values = to_floats(tensor);
      return pack({type, rows(), cols(), reinterpret_cast<const std::byte*>(values.data())}, place);
    }
    if (!tensor.tiled) return pack(matrix_of(tensor), place);
    std::memcpy(place, tensor.bytes.data(), tensor.bytes.size());
    return tiles_at(place);
  }
  PackedMatrix tiles_at(const std::byte* place) const {
    return {.dtype = type, .rows = rows(), .cols = cols(), .tiles = place};
  }
};

}  // namespace

Weights::Weights(const Checkpoint& checkpoint, bool exact) : checkpoint_(checkpoint) {
  std::size_t bytes = 0;
  const auto each_matrix = [&](const auto& work) {
    for (const Parameter& parameter : checkpoint.parameters) {
      if (parameter.shape.size() == 2) work(Source{parameter, checkpoint.tensor(parameter.name)});
    }
  };
  each_matrix([&](const Source& source) { bytes += source.memory(); });
  memory_ = HugeMemory(bytes);
  std::byte* place = memory_.data();
  each_matrix([&](const Source& source) {
    const Parameter& p = source.parameter;
    PackedMatrix& W = matrices_[p.name];
    W = source.lies_ready() ? source.tiles_at(source.tensor.bytes.data()) : source.packed_to(place);
    W.exact = exact || p.precision == Precision::exact;
    W.name = p.name;
    place += source.memory();
    if (!source.lies_ready()) give_back_pages(source.tensor.bytes);
  });
}

const float* Weights::vector(const std::string& parameter) {
  const TensorView& tensor = checkpoint_.tensor(parameter);
  const float* values = vectors_.emplace_back(to_floats(tensor)).data();
  give_back_pages(tensor.bytes);
  return values;
}

const float* Weights::vector_or_null(const std::string& parameter) {
  return checkpoint_.tensors.contains(parameter) ? vector(parameter) : nullptr;
}

}  // namespace mamba3
