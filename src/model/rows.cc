#include "model/rows.h"

#include "ops/linear/pack.h"

namespace mamba3 {

StoredRows::StoredRows(const TensorView& tensor)
    : tensor_(tensor),
      width_(tensor.shape.empty() ? 1 : tensor.shape.back()),
      count_(width_ > 0 ? tensor.elements() / width_ : 0),
      bytes_(*bytes_of(tensor.dtype, width_)) {}

const std::byte* StoredRows::row(std::int64_t i, std::vector<std::byte>& memory) const {
  if (!tensor_.tiled) return tensor_.bytes.data() + i * bytes_;
  unpack_stored({.dtype = tensor_.dtype, .rows = count_, .cols = width_, .tiles = tensor_.bytes.data()}, i,
                memory);
  return memory.data();
}

}  // namespace mamba3
