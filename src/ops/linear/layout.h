// How packed weights lie in memory.
//
// A tile is 16 rows of a matrix; the last one is filled up with zeros. A row is a sequence of blocks
// (core/dtype.h), a block a sequence of fields: arrays of units of 1, 2 or 4 bytes. In a tile each field has
// a plane of its own, [blocks of a row][units][16 rows]: the same bytes as in the file, so nothing gets
// larger, and what a vector loads belongs to 16 rows at one place of the inputs. Four int8 or eight 4-bit
// inputs of a row, or two of bf16, are one unit of 4 bytes: just what the dot product instructions take.
#pragma once

#include <array>
#include <cstdint>

#include "core/dtype.h"

namespace mamba3::cpu {

/// The lanes of AVX-512, two vectors of AVX2, four of SSE4 and NEON.
inline constexpr std::int64_t kTileRows = 16;

struct Field {
  std::int64_t offset;  ///< in a block, bytes
  std::int64_t units;
  std::int64_t unit;  ///< bytes
};

/// A type's block, taken apart. `elements` may be more than block_of() says: two of bf16.
struct BlockFields {
  std::int64_t elements;
  std::int64_t bytes;
  std::array<Field, 4> fields;  ///< in the order of the planes; unused ones have no units
};

struct TypeFields {
  DType type;
  BlockFields fields;
};

/// All types with kernels. Fields with the quants come first, so that their planes begin at whole vectors.
inline constexpr std::array kTypeFields = {
    TypeFields{DType::f32, {1, 4, {{{0, 1, 4}}}}},
    TypeFields{DType::f16, {1, 2, {{{0, 1, 2}}}}},
    TypeFields{DType::bf16, {2, 4, {{{0, 1, 4}}}}},
    TypeFields{DType::q8_0, {32, 34, {{{2, 8, 4}, {0, 1, 2}}}}},
    TypeFields{DType::q4_0, {32, 18, {{{2, 4, 4}, {0, 1, 2}}}}},
    TypeFields{DType::q4_1, {32, 20, {{{4, 4, 4}, {0, 2, 2}}}}},
    TypeFields{DType::q5_0, {32, 22, {{{6, 4, 4}, {2, 1, 4}, {0, 1, 2}}}}},
    TypeFields{DType::q5_1, {32, 24, {{{8, 4, 4}, {4, 1, 4}, {0, 2, 2}}}}},
    TypeFields{DType::q4_k, {256, 144, {{{16, 32, 4}, {4, 12, 1}, {0, 2, 2}}}}},
    TypeFields{DType::q5_k, {256, 176, {{{48, 32, 4}, {16, 8, 4}, {4, 12, 1}, {0, 2, 2}}}}},
    TypeFields{DType::q6_k, {256, 210, {{{0, 32, 4}, {128, 16, 4}, {192, 16, 1}, {208, 1, 2}}}}},
};

/// Null for a type without kernels.
constexpr const BlockFields* find_fields(DType type) {
  for (const TypeFields& each : kTypeFields) {
    if (each.type == type) return &each.fields;
  }
  return nullptr;
}

constexpr bool has_kernels(DType type) {
  return find_fields(type) != nullptr;
}

/// Throws Error(unsupported) for a type without kernels.
const BlockFields& fields_of(DType type);
/// For a type that is known beforehand.
template <DType kType>
inline constexpr BlockFields kFieldsOf = *find_fields(kType);

/// Blocks of a row, the last one filled up with zeros.
constexpr std::int64_t blocks_of(const BlockFields& fields, std::int64_t cols) {
  return (cols + fields.elements - 1) / fields.elements;
}

constexpr std::int64_t tile_bytes(const BlockFields& fields, std::int64_t cols) {
  return kTileRows * blocks_of(fields, cols) * fields.bytes;
}

constexpr std::int64_t tiles_of(std::int64_t rows) {
  return (rows + kTileRows - 1) / kTileRows;
}

/// Where the planes of a tile begin, in bytes.
constexpr std::array<std::int64_t, 4> planes_of(const BlockFields& fields, std::int64_t cols) {
  std::array<std::int64_t, 4> at{};
  std::int64_t next = 0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    at[i] = next;
    next += blocks_of(fields, cols) * fields.fields[i].units * fields.fields[i].unit * kTileRows;
  }
  return at;
}

}  // namespace mamba3::cpu
