// Arithmetic on sizes that come from a file: never wraps.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace mamba3 {

/// a + b, or nothing when it does not fit.
template <typename T>
std::optional<T> checked_add(T a, T b) {
  T sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

/// a * b, or nothing when it does not fit.
template <typename T>
std::optional<T> checked_mul(T a, T b) {
  T product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// Number of elements of a shape (1 for a scalar); nothing when a size is negative or the product does not
/// fit in 63 bits.
inline std::optional<std::int64_t> checked_elements(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  bool empty = false;
  for (const std::int64_t size : shape) {
    if (size < 0) return std::nullopt;
    if (size == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(count, size, &count)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : count;
}

}  // namespace mamba3
