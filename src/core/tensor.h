// A tensor as a file or a buffer holds it: a view, never an owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/checked.h"
#include "core/dtype.h"

namespace mamba3 {

using Shape = std::vector<std::int64_t>;  ///< outermost axis first, as in PyTorch

/// Contiguous, little-endian, rows whole blocks. `bytes` may have any alignment. `tiled`: a matrix that lies
/// in tiles of 16 rows (ops/linear/layout.h), in as many bytes as its rows have.
struct TensorView {
  DType dtype = DType::f32;
  Shape shape;
  std::span<const std::byte> bytes;
  bool tiled = false;

  std::int64_t elements() const { return checked_elements(shape).value_or(0); }
};

/// Rows [first, first + count) of a tensor, along its outermost axis. Precondition: they exist, and of a
/// tiled tensor both numbers are multiples of 16.
inline TensorView rows_of(const TensorView& tensor, std::int64_t first, std::int64_t count) {
  const auto row_bytes = static_cast<std::int64_t>(tensor.bytes.size()) / tensor.shape[0];
  TensorView rows = tensor;
  rows.shape[0] = count;
  rows.bytes = tensor.bytes.subspan(static_cast<std::size_t>(first * row_bytes),
                                    static_cast<std::size_t>(count * row_bytes));
  return rows;
}

}  // namespace mamba3
