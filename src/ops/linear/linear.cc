#include "ops/linear/linear.h"

#include "core/error.h"

namespace mamba3 {

Matrix matrix_of(const TensorView& tensor) {
  if (tensor.shape.size() != 2 || !is_float(tensor.dtype)) {
    fail(ErrorCode::internal, "a weight matrix has shape [{}] and type {}, expected two axes of real numbers",
         fmt::join(tensor.shape, ", "), name_of(tensor.dtype));
  }
  return {tensor.dtype, tensor.shape[0], tensor.shape[1], tensor.bytes.data()};
}

void linear(const Exec& exec, std::span<const Product> products, const float* x, std::int64_t rows) {
  if (exec.observer != nullptr) {
    for (const Product& product : products) exec.observer->saw(*product.W, x, rows);
  }
  exec.device == Device::cuda ? cuda::linear(*exec.arena, products, x, rows)
                              : cpu::linear(*exec.arena, products, x, rows);
}

void linear(const Exec& exec, const PackedMatrix& W, const float* x, std::int64_t rows, float* y) {
  const Product product{&W, y};
  linear(exec, {&product, 1}, x, rows);
}

}  // namespace mamba3
