#include "formats/torch_strides.h"

#include <algorithm>
#include <cstring>

#include "core/checked.h"

namespace mamba3 {
namespace {

/// Copies Unsigned by Unsigned, one row of the innermost axis after another.
template <typename Unsigned>
void gather(const StridedLayout& layout, const std::byte* elements, std::byte* to) {
  const std::size_t axes = layout.shape.size();
  const std::int64_t row = axes == 0 ? 1 : layout.shape.back();
  const std::int64_t stride = axes == 0 ? 1 : layout.strides.back();
  const std::int64_t rows = checked_elements(layout.shape).value_or(0) / std::max<std::int64_t>(row, 1);
  Shape index(axes, 0);
  std::int64_t from = layout.offset;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < row; ++i, to += sizeof(Unsigned)) {
      std::memcpy(to, elements + (from + i * stride) * static_cast<std::int64_t>(sizeof(Unsigned)),
                  sizeof(Unsigned));
    }
    for (std::size_t axis = axes; axis-- > 1;) {  // the next row: the outer axes count up like an odometer
      from += layout.strides[axis - 1];
      if (++index[axis - 1] < layout.shape[axis - 1]) break;
      from -= layout.strides[axis - 1] * layout.shape[axis - 1];
      index[axis - 1] = 0;
    }
  }
}

}  // namespace

std::optional<std::int64_t> end_of(const StridedLayout& layout) {
  const auto negative = [](std::int64_t value) { return value < 0; };
  const auto elements = checked_elements(layout.shape);
  if (!elements || layout.offset < 0 || layout.strides.size() != layout.shape.size() ||
      std::ranges::any_of(layout.strides, negative)) {
    return std::nullopt;
  }
  if (*elements == 0) return layout.offset;
  std::optional<std::int64_t> end = checked_add<std::int64_t>(layout.offset, 1);
  for (std::size_t axis = 0; axis < layout.shape.size() && end; ++axis) {
    const auto reach = checked_mul(layout.shape[axis] - 1, layout.strides[axis]);
    end = reach ? checked_add(*end, *reach) : std::nullopt;
  }
  return end;
}

bool is_contiguous(const StridedLayout& layout) {
  if (checked_elements(layout.shape) == 0) return true;
  std::int64_t expected = 1;
  for (std::size_t axis = layout.shape.size(); axis-- > 0;) {
    if (layout.shape[axis] != 1 && layout.strides[axis] != expected) return false;
    expected *= layout.shape[axis];
  }
  return true;
}

std::vector<std::byte> gathered(const StridedLayout& layout, std::span<const std::byte> elements,
                                std::int64_t element_bytes) {
  const auto count = checked_elements(layout.shape).value_or(0);
  std::vector<std::byte> result(static_cast<std::size_t>(count * element_bytes));
  switch (element_bytes) {
    case 1:
      gather<std::uint8_t>(layout, elements.data(), result.data());
      break;
    case 2:
      gather<std::uint16_t>(layout, elements.data(), result.data());
      break;
    case 4:
      gather<std::uint32_t>(layout, elements.data(), result.data());
      break;
    default:
      gather<std::uint64_t>(layout, elements.data(), result.data());
      break;
  }
  return result;
}

}  // namespace mamba3
