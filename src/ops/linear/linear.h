// y = x W^T for stored weights of any type.
//
// Weights are packed once, when a model is loaded (layout.h): 16 rows of a matrix side by side, so that the
// lanes of a vector are outputs and every type has one way through. An output is then one chain of
// multiply-adds over the inputs, the same for a prompt, a batch and a single token: its bits depend on its
// row of x and its row of W alone.
//
// Activations enter a product as float32, or, where the processor has the instructions (AVX-512 with BF16 and
// VNNI), rounded to the weights' kind: to bf16 for BF16 weights, to int8 with a scale for 256 values of a row
// for quantized ones. Sums are float32 (int32 inside a block). `exact` keeps float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "core/tensor.h"
#include "ops/exec.h"

namespace mamba3 {

/// A weight matrix as a file stores it: `rows` outputs of `cols` inputs, row-major. Any alignment.
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

/// A view of packed weights (pack.h).
struct PackedMatrix {
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  const std::byte* tiles = nullptr;
  bool exact = false;          ///< activations stay float32
  std::string_view name = {};  ///< of the parameter, for observers
};

/// One matrix of several that have the same input. y [rows, W.rows], dense.
struct Product {
  const PackedMatrix* W = nullptr;
  float* y = nullptr;
};

/// y[i, j] = sum_k x[i, k] W[j, k] in float32 for x [rows, W.cols], dense; of all `products`, which have the
/// same `cols`, at once.
void linear(const Exec& exec, std::span<const Product> products, const float* x, std::int64_t rows);
void linear(const Exec& exec, const PackedMatrix& W, const float* x, std::int64_t rows, float* y);

namespace cpu {
void linear(Arena& arena, std::span<const Product> products, const float* x, std::int64_t rows);
}  // namespace cpu

namespace cuda {
void linear(Arena& arena, std::span<const Product> products, const float* x, std::int64_t rows);
}  // namespace cuda

}  // namespace mamba3
