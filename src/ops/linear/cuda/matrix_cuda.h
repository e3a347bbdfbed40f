// How weight matrices lie in a device's memory.
//
// Plain types (F32, F16, BF16) lie as a file has them, row after row. A quantized type's block (core/dtype.h,
// core/quant/blocks.h) is cut into its fields, neighbours of one kind kept together, and each of these has a
// plane of its own, [rows][blocks of a row][bytes]: the bytes are the file's, nothing gets larger, and every
// plane is read in aligned pieces of up to 16 bytes, which the file's blocks of 34, 144 or 210 bytes are not.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace mamba3::cuda {

/// A block's bytes [offset, offset + bytes): what one plane holds of it.
struct PlaneField {
  int offset = 0;
  int bytes = 0;
};

/// At most four planes; unused ones have no bytes. Plain types: one plane, blocks of one value.
struct PlaneTable {
  int elements = 1;  ///< values of a block
  std::array<PlaneField, 4> fields = {};
};

constexpr PlaneTable planes_of(DType type) {
  switch (type) {
    case DType::f32:
      return {1, {{{0, 4}}}};
    case DType::f16:
    case DType::bf16:
      return {1, {{{0, 2}}}};
    case DType::q8_0:
      return {32, {{{0, 2}, {2, 32}}}};  // d, qs
    case DType::q4_0:
      return {32, {{{0, 2}, {2, 16}}}};  // d, qs
    case DType::q4_1:
      return {32, {{{0, 4}, {4, 16}}}};  // d and m, qs
    case DType::q5_0:
      return {32, {{{0, 2}, {2, 4}, {6, 16}}}};  // d, qh, qs
    case DType::q5_1:
      return {32, {{{0, 4}, {4, 4}, {8, 16}}}};  // d and m, qh, qs
    case DType::q4_k:
      return {256, {{{0, 16}, {16, 128}}}};  // d, dmin and scales, qs
    case DType::q5_k:
      return {256, {{{0, 16}, {16, 32}, {48, 128}}}};  // d, dmin and scales, qh, qs
    case DType::q6_k:
      return {256, {{{0, 128}, {128, 64}, {192, 16}, {208, 2}}}};  // ql, qh, scales, d
    default:
      return {0, {}};  // no weights of this type
  }
}

/// A view. `planes[i]` is aligned to kPlaneAlignment; its rows are blocks() * fields[i].bytes apart.
struct DeviceMatrix {
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::array<const std::byte*, 4> planes = {};

  constexpr std::int64_t blocks() const { return cols / planes_of(dtype).elements; }
};
inline constexpr std::int64_t kPlaneAlignment = 256;

/// Bytes of all planes, each rounded up to kPlaneAlignment.
constexpr std::int64_t device_bytes(DType type, std::int64_t rows, std::int64_t cols) {
  const PlaneTable table = planes_of(type);
  std::int64_t bytes = 0;
  for (const PlaneField& field : table.fields) {
    const std::int64_t plane = rows * (cols / table.elements) * field.bytes;
    bytes += (plane + kPlaneAlignment - 1) / kPlaneAlignment * kPlaneAlignment;
  }
  return bytes;
}

/// The view of a matrix whose planes lie one behind the other at `memory`, device_bytes() long and aligned to
/// kPlaneAlignment.
constexpr DeviceMatrix matrix_at(DType type, std::int64_t rows, std::int64_t cols, const std::byte* memory) {
  DeviceMatrix matrix{type, rows, cols, {}};
  const PlaneTable table = planes_of(type);
  for (std::size_t i = 0; i < table.fields.size(); ++i) {
    if (table.fields[i].bytes == 0) break;
    matrix.planes[i] = memory;
    const std::int64_t plane = rows * (cols / table.elements) * table.fields[i].bytes;
    memory += (plane + kPlaneAlignment - 1) / kPlaneAlignment * kPlaneAlignment;
  }
  return matrix;
}

}  // namespace mamba3::cuda
