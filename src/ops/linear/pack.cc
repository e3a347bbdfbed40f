#include "ops/linear/pack.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/threads.h"
#include "ops/linear/layout.h"

namespace mamba3 {
namespace {

using namespace cpu;

// units[u] of 16 rows that lie `stride` bytes apart, to [units][16].
template <typename Unit>
void gather_units(const std::byte* from, std::int64_t stride, std::int64_t rows, std::int64_t units,
                  std::byte* to) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::byte* source = from + row * stride;
    std::byte* place = to + row * static_cast<std::int64_t>(sizeof(Unit));
    for (std::int64_t u = 0; u < units; ++u) {
      Unit value;
      std::memcpy(&value, source + u * static_cast<std::int64_t>(sizeof(Unit)), sizeof value);
      std::memcpy(place + u * kTileRows * static_cast<std::int64_t>(sizeof(Unit)), &value, sizeof value);
    }
  }
}

void gather_field(const Field& field, const std::byte* block, std::int64_t stride, std::int64_t rows,
                  std::byte* to) {
  const std::byte* from = block + field.offset;
  switch (field.unit) {
    case 1:
      return gather_units<std::uint8_t>(from, stride, rows, field.units, to);
    case 2:
      return gather_units<std::uint16_t>(from, stride, rows, field.units, to);
    default:
      return gather_units<std::uint32_t>(from, stride, rows, field.units, to);
  }
}

// One tile: `rows` rows of `stride` bytes each; rows that are missing, and what is missing of a last block,
// are zeros.
void pack_tile(const BlockFields& f, std::int64_t cols, const std::byte* from, std::int64_t stride,
               std::int64_t rows, std::byte* tile) {
  const auto planes = planes_of(f, cols);
  const std::int64_t blocks = blocks_of(f, cols), whole = stride / f.bytes;
  if (rows < kTileRows) std::memset(tile, 0, static_cast<std::size_t>(tile_bytes(f, cols)));
  for (std::size_t i = 0; i < f.fields.size(); ++i) {
    const Field& field = f.fields[i];
    const std::int64_t size = field.units * field.unit * kTileRows;
    for (std::int64_t b = 0; b < whole && size > 0; ++b) {
      gather_field(field, from + b * f.bytes, stride, rows, tile + planes[i] + b * size);
    }
  }
  if (whole == blocks) return;
  // Half a pair of bf16 at the end of an odd row: the only block that may be cut.
  std::byte rest[4 * kTileRows] = {};
  for (std::int64_t row = 0; row < rows; ++row) {
    std::memcpy(rest + row * 4, from + row * stride + whole * f.bytes,
                static_cast<std::size_t>(stride - whole * f.bytes));
  }
  std::memcpy(tile + whole * static_cast<std::int64_t>(sizeof rest), rest, sizeof rest);
}

}  // namespace

std::int64_t packed_bytes(DType type, std::int64_t rows, std::int64_t cols) {
  return tiles_of(rows) * tile_bytes(fields_of(type), cols);
}

bool packs_in_place(DType type, const Shape& shape) {
  return shape.size() == 2 && has_kernels(type) && shape[0] % kTileRows == 0 &&
         shape[1] % fields_of(type).elements == 0;
}

PackedMatrix pack(const Matrix& W, std::byte* memory) {
  const BlockFields& f = fields_of(W.dtype);
  const std::int64_t bytes = tile_bytes(f, W.cols), stride = W.row_bytes();
  parallel_ranges(tiles_of(W.rows), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t tile = first; tile < last; ++tile) {
      const std::int64_t row = tile * kTileRows;
      pack_tile(f, W.cols, W.row(row), stride, std::min(kTileRows, W.rows - row), memory + tile * bytes);
    }
  });
  return {.dtype = W.dtype, .rows = W.rows, .cols = W.cols, .tiles = memory};
}

void unpack_stored(const PackedMatrix& W, std::int64_t row, std::vector<std::byte>& out) {
  const BlockFields& f = fields_of(W.dtype);
  const auto planes = planes_of(f, W.cols);
  const std::byte* tile = W.tiles + row / kTileRows * tile_bytes(f, W.cols);
  const std::int64_t blocks = blocks_of(f, W.cols);
  out.resize(static_cast<std::size_t>(blocks * f.bytes));
  for (std::size_t i = 0; i < f.fields.size(); ++i) {
    const Field& field = f.fields[i];
    for (std::int64_t b = 0; b < blocks; ++b) {
      std::byte* to = out.data() + b * f.bytes + field.offset;
      const std::byte* from = tile + planes[i] + (b * field.units * kTileRows + row % kTileRows) * field.unit;
      for (std::int64_t u = 0; u < field.units; ++u) {
        std::memcpy(to + u * field.unit, from + u * kTileRows * field.unit,
                    static_cast<std::size_t>(field.unit));
      }
    }
  }
}

void unpack_row(const PackedMatrix& W, std::int64_t row, float* out) {
  thread_local std::vector<std::byte> stored;
  unpack_stored(W, row, stored);
  to_float(W.dtype, stored.data(), W.cols, out);
}

PackedMatrix rows_of(const PackedMatrix& W, std::int64_t first, std::int64_t count) {
  PackedMatrix part = W;
  part.rows = count;
  part.tiles = W.tiles + first / kTileRows * tile_bytes(fields_of(W.dtype), W.cols);
  return part;
}

}  // namespace mamba3
