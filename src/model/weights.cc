#include "model/weights.h"

#include "core/mapped_file.h"
#include "core/threads.h"
#include "ops/linear/pack.h"

namespace mamba3 {
namespace {

constexpr std::int64_t kAlignment = 64;

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// What a matrix is packed as: the rows that steer the dynamics in float32 whatever the file has, since their
// activations are float32, too; float64 has no product of its own.
DType packed_type(const Parameter& parameter, DType stored) {
  return parameter.precision == Precision::exact || stored == DType::f64 ? DType::f32 : stored;
}

AlignedFloats to_floats(const TensorView& tensor) {
  AlignedFloats values(static_cast<std::size_t>(tensor.elements()));
  const std::int64_t width = tensor.shape.back(), rows = tensor.elements() / width;
  const std::int64_t row_bytes = *bytes_of(tensor.dtype, width);
  parallel_ranges(rows, [&](std::int64_t first, std::int64_t last) {
    to_float(tensor.dtype, tensor.bytes.data() + first * row_bytes, (last - first) * width,
             values.data() + first * width);
  });
  return values;
}

}  // namespace

Weights::Weights(const Checkpoint& checkpoint, bool exact) : checkpoint_(checkpoint) {
  std::int64_t bytes = 0;
  const auto each_matrix = [&](const auto& work) {
    for (const Parameter& parameter : checkpoint.parameters) {
      if (parameter.shape.size() == 2) work(parameter, checkpoint.tensor(parameter.name));
    }
  };
  each_matrix([&](const Parameter& p, const TensorView& tensor) {
    bytes += aligned(packed_bytes(packed_type(p, tensor.dtype), p.shape[0], p.shape[1]));
  });
  memory_ = HugeMemory(static_cast<std::size_t>(bytes));
  std::byte* place = memory_.data();
  each_matrix([&](const Parameter& p, const TensorView& tensor) {
    const DType type = packed_type(p, tensor.dtype);
    PackedMatrix& W = matrices_[p.name];
    if (type == tensor.dtype) {
      W = pack(matrix_of(tensor), place);
    } else {
      const AlignedFloats values = to_floats(tensor);
      W = pack({type, p.shape[0], p.shape[1], reinterpret_cast<const std::byte*>(values.data())}, place);
    }
    W.exact = exact || p.precision == Precision::exact;
    W.name = p.name;
    place += aligned(packed_bytes(type, p.shape[0], p.shape[1]));
    give_back_pages(tensor.bytes);
  });
}

const float* Weights::vector(const std::string& parameter) {
  const TensorView& tensor = checkpoint_.tensor(parameter);
  if (tensor.dtype == DType::f32 &&
      reinterpret_cast<std::uintptr_t>(tensor.bytes.data()) % alignof(float) == 0) {
    return reinterpret_cast<const float*>(tensor.bytes.data());
  }
  return vectors_.emplace_back(to_floats(tensor)).data();
}

const float* Weights::vector_or_null(const std::string& parameter) {
  return checkpoint_.tensors.contains(parameter) ? vector(parameter) : nullptr;
}

}  // namespace mamba3
