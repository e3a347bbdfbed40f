#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/threads.h"
#include "ops/linear/kernels_cpu.h"
#include "ops/linear/linear.h"

namespace mamba3::cpu {
namespace {

// Rows of activations that meet a group of weights at once. 128 rows of 1,536 bf16 inputs are 400 KB: they
// stay in a second-level cache of 1 MB beside the weights, which come by once for each 128 rows.
constexpr std::int64_t kBlockOfRows = 128;

// Multiply-adds below which one thread is faster than waking the others: 2 microseconds at 10 per nanosecond.
constexpr std::int64_t kWorthSharing = 20'000;

// Pieces a thread gets of a product: a thread that is held up leaves little behind.
constexpr std::int64_t kPieces = 4;

// The input in the forms that the products take, each made once.
struct Activations {
  const float* floats;
  std::optional<BFloatRows> bf16;
  std::optional<Int8Rows> int8;

  Activations(Arena& arena, std::span<const Product> products, const float* x, std::int64_t rows) : floats(x) {
    for (const Product& product : products) {
      const PackedMatrix& W = *product.W;
      if (takes_bf16(W) && !bf16) bf16 = round_to_bf16(arena, x, rows, W.cols);
      if (takes_int8(W) && !int8) int8 = round_to_int8(arena, x, rows, W.cols);
    }
  }

  static bool takes_bf16(const PackedMatrix& W) {
    return !W.exact && W.dtype == DType::bf16 && has_bf16_product();
  }
  static bool takes_int8(const PackedMatrix& W) {
    return !W.exact && block_of(W.dtype).elements > 1 && has_int8_product();
  }
};

void store(const Product& product, const float* c, std::int64_t column, std::int64_t first, std::int64_t rows) {
  const std::int64_t width = std::min(kGroupRows, product.W->rows - column);
  for (std::int64_t row = 0; row < rows; ++row) {
    float* out = product.y + (first + row) * product.W->rows + column;
    const float* from = c + row * kGroupRows;
    if (product.add) {
      for (std::int64_t j = 0; j < width; ++j) out[j] += from[j];
    } else {
      std::copy_n(from, width, out);
    }
  }
}

// One group of tiles of one product, for rows [first, first + rows).
void run_group(const Product& product, const Activations& x, std::int64_t group, std::int64_t first,
               std::int64_t rows) {
  const PackedMatrix& W = *product.W;
  alignas(64) float c[kBlockOfRows * kGroupRows];
  const std::int64_t tile = group * kGroupTiles, tiles = std::min(kGroupTiles, tiles_of(W.rows) - tile);
  if (Activations::takes_bf16(W)) {
    bf16_product(W, tile, tiles, *x.bf16, first, rows, c);
  } else if (Activations::takes_int8(W)) {
    int8_product(W, tile, tiles, *x.int8, first, rows, c);
  } else {
    float_product(W, tile, tiles, x.floats + first * W.cols, rows, c);
  }
  store(product, c, tile * kTileRows, first, rows);
}

std::int64_t groups_of(const PackedMatrix& W) {
  return (tiles_of(W.rows) + kGroupTiles - 1) / kGroupTiles;
}

}  // namespace

void linear(Arena& arena, std::span<const Product> products, const float* x, std::int64_t rows) {
  const Arena::Scope scope(arena);
  std::int64_t groups = 0, weights = 0;
  for (const Product& product : products) {
    groups += groups_of(*product.W);
    weights += product.W->rows * product.W->cols;
  }
  const Activations activations(arena, products, x, rows);
  // Groups of all products in one row, blocks of rows one after the other.
  const auto work = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t row = i / groups * kBlockOfRows;
      std::int64_t group = i % groups;
      const Product* product = products.data();
      for (; group >= groups_of(*product->W); ++product) group -= groups_of(*product->W);
      run_group(*product, activations, group, row, std::min(kBlockOfRows, rows - row));
    }
  };
  const std::int64_t count = groups * ((rows + kBlockOfRows - 1) / kBlockOfRows);
  if (weights * rows < kWorthSharing) return work(0, count);
  const std::int64_t length = std::max<std::int64_t>(1, count / (kPieces * threads()));
  parallel_each((count + length - 1) / length,
                [&](std::int64_t i) { work(i * length, std::min(count, (i + 1) * length)); });
}

}  // namespace mamba3::cpu
