// A tensor's rows as a file of rows holds them, whatever its layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/tensor.h"

namespace mamba3 {

/// How a GGUF file of ours holds its matrices (docs/formats.md).
enum class Layout {
  rows,   ///< as every other program does
  tiles,  ///< packed for the products, so that they are used where they lie
};

/// A tensor along its innermost axis: `count` rows of `width` values. Rows are whole blocks.
class StoredRows {
 public:
  /// A view: the tensor must outlive it.
  explicit StoredRows(const TensorView& tensor);

  std::int64_t count() const { return count_; }
  std::int64_t width() const { return width_; }
  /// Bytes of a row.
  std::int64_t bytes() const { return bytes_; }
  /// Row i: in the tensor itself, or unpacked to `memory`.
  const std::byte* row(std::int64_t i, std::vector<std::byte>& memory) const;

 private:
  const TensorView& tensor_;
  std::int64_t width_, count_, bytes_;
};

}  // namespace mamba3
