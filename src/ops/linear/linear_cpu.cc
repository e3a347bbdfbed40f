#include <algorithm>
#include <optional>

#include "core/error.h"
#include "core/threads.h"
#include "ops/linear/kernels_cpu.h"
#include "ops/linear/linear.h"

namespace mamba3::cpu {
namespace {

// Rows of activations that meet a group of weights at once: as many as stay in a second-level cache of 1 MB
// beside the weights, which come by once for each block (with 800 KB of activations products lost a third).
constexpr std::int64_t kBlockBytes = 400'000, kLeastRows = 32, kMostRows = 256;

// Multiply-adds below which one thread is faster than waking the others: 2 microseconds at 10 per nanosecond.
constexpr std::int64_t kWorthSharing = 20'000;

// Pieces a thread gets of a product: a thread that is held up leaves little behind.
constexpr std::int64_t kPieces = 4;

// The input in the forms that the products take, each made once.
struct Activations {
  const float* floats;
  std::optional<BFloatRows> bf16;
  std::optional<Int8Rows> int8;

  Activations(Arena& arena, std::span<const Product> products, const float* x, std::int64_t rows)
      : floats(x) {
    for (const Product& product : products) {
      const PackedMatrix& W = *product.W;
      if (takes_bf16(W) && !bf16) bf16 = round_to_bf16(arena, x, rows, W.cols);
      if (takes_int8(W) && !int8) int8 = round_to_int8(arena, x, rows, W.cols);
    }
  }

  /// Bytes of one value in the widest form.
  std::int64_t value_bytes(std::span<const Product> products) const {
    const auto floats_needed = [](const Product& p) { return !takes_bf16(*p.W) && !takes_int8(*p.W); };
    return std::ranges::any_of(products, floats_needed) ? 4 : bf16 ? 2 : 1;
  }

  static bool takes_bf16(const PackedMatrix& W) {
    return !W.exact && W.dtype == DType::bf16 && has_bf16_product();
  }
  static bool takes_int8(const PackedMatrix& W) {
    return !W.exact && block_of(W.dtype).elements > 1 && has_int8_product();
  }
};

// Tiles [tile, tile + tiles) of one product, for rows [first, first + rows): c [rows, .], `stride` apart.
void multiply(const PackedMatrix& W, const Activations& x, std::int64_t tile, std::int64_t tiles,
              std::int64_t first, std::int64_t rows, float* c, std::int64_t stride) {
  if (Activations::takes_bf16(W)) return bf16_product(W, tile, tiles, *x.bf16, first, rows, c, stride);
  if (Activations::takes_int8(W)) return int8_product(W, tile, tiles, *x.int8, first, rows, c, stride);
  float_product(W, tile, tiles, x.floats + first * W.cols, rows, c, stride);
}

// One group of tiles. Results go to their place at once, but where the last tile reaches beyond the matrix.
void run_group(const Product& product, const Activations& x, std::int64_t group, std::int64_t first,
               std::int64_t rows) {
  const PackedMatrix& W = *product.W;
  const std::int64_t tile = group * kGroupTiles, tiles = std::min(kGroupTiles, tiles_of(W.rows) - tile);
  const std::int64_t column = tile * kTileRows, width = std::min(kGroupRows, W.rows - column);
  float* y = product.y + first * W.rows + column;
  if (width == tiles * kTileRows) return multiply(W, x, tile, tiles, first, rows, y, W.rows);
  alignas(64) float c[kMostRows * kGroupRows];
  multiply(W, x, tile, tiles, first, rows, c, kGroupRows);
  for (std::int64_t row = 0; row < rows; ++row) {
    std::copy_n(c + row * kGroupRows, width, y + row * W.rows);
  }
}

std::int64_t groups_of(const PackedMatrix& W) {
  return (tiles_of(W.rows) + kGroupTiles - 1) / kGroupTiles;
}

// Rows that stay in the cache, and a block for each thread where that leaves enough of them to be worth
// reading the weights for: then a thread's rows stay with it from one operation to the next.
std::int64_t rows_of_block(std::span<const Product> products, const Activations& x, std::int64_t rows) {
  constexpr std::int64_t kWorthReading = 64, kGrain = 8;
  const std::int64_t fitting = kBlockBytes / (products.front().W->cols * x.value_bytes(products));
  const std::int64_t share = std::max(kWorthReading, (rows + threads() - 1) / threads());
  const std::int64_t block = std::clamp(std::min(fitting, share), kLeastRows, kMostRows);
  return (block + kGrain - 1) / kGrain * kGrain;
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
  const std::int64_t block = rows_of_block(products, activations, rows);
  // Blocks of rows one after the other, each with the groups of all products.
  const auto work = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t row = i / groups * block;
      std::int64_t group = i % groups;
      const Product* product = products.data();
      for (; group >= groups_of(*product->W); ++product) group -= groups_of(*product->W);
      run_group(*product, activations, group, row, std::min(block, rows - row));
    }
  };
  const std::int64_t count = groups * ((rows + block - 1) / block);
  if (weights * rows < kWorthSharing) return work(0, count);
  const std::int64_t length = std::max<std::int64_t>(1, count / (kPieces * threads()));
  parallel_runs((count + length - 1) / length,
                [&](std::int64_t i) { work(i * length, std::min(count, (i + 1) * length)); });
}

}  // namespace mamba3::cpu
