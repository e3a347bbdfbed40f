// Tensors whose elements do not lie in the order of their axes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/tensor.h"

namespace mamba3 {

/// A window on flat elements: element (i, j, ...) is number offset + i * strides[0] + j * strides[1] + ...
struct StridedLayout {
  Shape shape;
  Shape strides;  ///< in elements, as many as axes
  std::int64_t offset = 0;
};

/// One past the last element that the layout touches (`offset` when it has none); nothing when a size, stride
/// or the offset is negative, when a stride is missing, or when the number does not fit in 63 bits.
std::optional<std::int64_t> end_of(const StridedLayout& layout);

/// True when the elements follow each other in order without gaps. Strides of axes with one row do not count.
bool is_contiguous(const StridedLayout& layout);

/// The elements in order. `elements` are plain values of 1, 2, 4 or 8 bytes. Precondition: end_of(layout)
/// lies within them.
std::vector<std::byte> gathered(const StridedLayout& layout, std::span<const std::byte> elements,
                                std::int64_t element_bytes);

}  // namespace mamba3
