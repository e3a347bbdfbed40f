// Packing of weights, and the way back for single rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/aligned.h"
#include "ops/linear/linear.h"

namespace mamba3 {

/// Bytes of the packed form: those of the stored one, with the rows filled up to a multiple of 16. Throws
/// Error(unsupported) for a type without kernels.
std::int64_t packed_bytes(DType type, std::int64_t rows, std::int64_t cols);

/// Whether the packed form of such a tensor takes exactly the bytes of its rows, so that it may take their
/// place: a matrix of a type with kernels, with a multiple of 16 rows and no half-filled block.
bool packs_in_place(DType type, const Shape& shape);

/// Packs W into `memory`, packed_bytes(W) long; shared among the threads. Products ask for memory that is
/// aligned to kPackedAlignment.
PackedMatrix pack(const Matrix& W, std::byte* memory);
inline constexpr std::size_t kPackedAlignment = 64;  ///< a vector of 16 floats, and a line of cache

/// Row `row` of W as it was before it was packed, half-filled blocks whole.
void unpack_stored(const PackedMatrix& W, std::int64_t row, std::vector<std::byte>& out);
/// The same as float32: out [W.cols].
void unpack_row(const PackedMatrix& W, std::int64_t row, float* out);

/// Rows [first, first + count) of W as a matrix of their own; `first` is a multiple of 16.
PackedMatrix rows_of(const PackedMatrix& W, std::int64_t first, std::int64_t count);

/// A packed matrix in memory of its own.
class OwnMatrix {
 public:
  OwnMatrix() = default;
  explicit OwnMatrix(const Matrix& W, bool exact = false)
      : memory_(static_cast<std::size_t>(packed_bytes(W.dtype, W.rows, W.cols))),
        view_(pack(W, memory_.data())) {
    view_.exact = exact;
  }
  const PackedMatrix& view() const { return view_; }

 private:
  std::vector<std::byte, CacheLineAllocator<std::byte>> memory_;
  PackedMatrix view_;
};

}  // namespace mamba3
