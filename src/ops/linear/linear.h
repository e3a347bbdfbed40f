// y = x W^T for stored weights of any float type.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/arena.h"
#include "core/device.h"
#include "core/tensor.h"

namespace mamba3 {

/// Rows of activations in one library product: the product of a row is then always the same computation,
/// whatever else is in the block, so a prompt gives the same bits however it is cut. 64 rows reach nine
/// tenths of the rate of long ones on AVX-512 (see docs/numerics.md) and waste little on a short prompt.
inline constexpr std::int64_t kBlockRows = 64;

/// A weight matrix as it is stored: `rows` outputs of `cols` inputs, row-major. Any alignment.
struct Matrix {
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const std::byte* data = nullptr;

  std::int64_t row_bytes() const { return *bytes_of(dtype, cols); }
  const std::byte* row(std::int64_t i) const { return data + i * row_bytes(); }
};

/// A view of a two-dimensional tensor of a float type.
Matrix matrix_of(const TensorView& tensor);

/// y[i, j] = sum_k x[i, k] W[j, k] in float32, for `rows` rows: a multiple of kBlockRows, row i of each block
/// standing at a position that is i modulo kBlockRows. x [rows, W.cols] and y [rows, W.rows] are dense.
/// Rows without a token may hold anything.
void linear(Device device, const Matrix& W, const float* x, std::int64_t rows, float* y);

/// The same for the single tokens of a decode step: x [rows, W.cols], y [rows, W.rows], any number of rows,
/// each with bits of its own (a batch gives what its rows give alone). Weights are read once.
void linear_step(Device device, const Matrix& W, const float* x, std::int64_t rows, float* y);

/// Sees the inputs of products, for what has to be measured there.
struct LinearObserver {
  virtual ~LinearObserver() = default;
  /// Called on the caller's thread before the product; x [rows, W.cols], every row a token's.
  virtual void saw(const Matrix& W, const float* x, std::int64_t rows) = 0;
};

namespace cpu {
void linear(const Matrix& W, const float* x, std::int64_t rows, float* y);
void linear_step(const Matrix& W, const float* x, std::int64_t rows, float* y);
}  // namespace cpu

namespace cuda {
void linear(const Matrix& W, const float* x, std::int64_t rows, float* y);
void linear_step(const Matrix& W, const float* x, std::int64_t rows, float* y);
}  // namespace cuda

}  // namespace mamba3
