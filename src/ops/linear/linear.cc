#include "ops/linear/linear.h"

#include "core/error.h"
#include "ops/rows.h"

namespace mamba3 {

Matrix matrix_of(const TensorView& tensor) {
  if (tensor.shape.size() != 2 || !is_float(tensor.dtype)) {
    fail(ErrorCode::internal, "a weight matrix has shape [{}] and type {}, expected two axes of real numbers",
         fmt::join(tensor.shape, ", "), name_of(tensor.dtype));
  }
  return {tensor.dtype, tensor.shape[0], tensor.shape[1], tensor.bytes.data()};
}

void linear(Device device, const Matrix& W, const float* x, std::int64_t rows, float* y) {
  device == Device::cuda ? cuda::linear(W, x, rows, y) : cpu::linear(W, x, rows, y);
}

void linear(const Exec& exec, const Matrix& W, const float* x, std::int64_t rows, float* y) {
  if (exec.observer != nullptr) exec.observer->saw(W, x, rows);
  linear(exec.device, W, x, rows, y);
}

void linear_step(Device device, const Matrix& W, const float* x, std::int64_t rows, float* y) {
  device == Device::cuda ? cuda::linear_step(W, x, rows, y) : cpu::linear_step(W, x, rows, y);
}

}  // namespace mamba3
