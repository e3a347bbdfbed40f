// Whole blocks of the quantized types to and from real numbers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace mamba3::quant {

/// `elements` values of a quantized type; Real is float or double. `from` may have any alignment. Gives
/// ggml's values to the bit in float.
template <typename Real>
void decode(DType type, const std::byte* from, std::int64_t elements, Real* to);

/// The inverse, as from_float (core/dtype.h) says.
void encode(DType type, const float* from, std::int64_t elements, std::byte* to, const float* importance);

// The two families, each in the file of its name; `type` is one of theirs.

template <typename Real>
void decode_simple(DType type, const std::byte* from, std::int64_t elements, Real* to);
void encode_simple(DType type, const float* from, std::int64_t elements, std::byte* to,
                   const float* importance);

template <typename Real>
void decode_k(DType type, const std::byte* from, std::int64_t elements, Real* to);
void encode_k(DType type, const float* from, std::int64_t elements, std::byte* to, const float* importance);

/// Calls one(block, values) for each block and its part of `to`.
template <typename Block, typename Real, typename One>
void for_blocks(const std::byte* from, std::int64_t elements, std::int64_t of_block, Real* to, One one) {
  for (std::int64_t i = 0; i < elements; i += of_block, from += sizeof(Block)) {
    Block block;
    __builtin_memcpy(&block, from, sizeof block);
    one(block, to + i);
  }
}

/// Stores one(values, importance) for each block; `importance` stays null when it is.
template <typename One>
void make_blocks(const float* from, std::int64_t elements, std::int64_t of_block, std::byte* to,
                 const float* importance, One one) {
  for (std::int64_t i = 0; i < elements; i += of_block) {
    const auto block = one(from + i, importance == nullptr ? nullptr : importance + i);
    __builtin_memcpy(to, &block, sizeof block);
    to += sizeof block;
  }
}

}  // namespace mamba3::quant
