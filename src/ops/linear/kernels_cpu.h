// The products of a few tiles with rows of activations: one kernel for each kind of activation.
//
// All write c [rows, 16 tiles], `stride` floats from row to row, for tiles [tile, tile + tiles), 1 to
// kGroupTiles of them: one chain of multiply-adds an output, over the inputs in order, so that a row's bits
// depend on nothing else.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "ops/linear/activations.h"
#include "ops/linear/layout.h"
#include "ops/linear/linear.h"

namespace mamba3::cpu {

/// Tiles whose products are made at once by AVX-512: with 8 rows of activations their sums fill 24 of its 32
/// registers. A group is what a thread takes: two of them.
inline constexpr int kTilesAtOnce = 3;
inline constexpr std::int64_t kGroupTiles = 2 * kTilesAtOnce;
inline constexpr std::int64_t kGroupRows = kGroupTiles * kTileRows;

/// Float32 activations x [rows, W.cols] and weights of any type.
void float_product(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const float* x,
                   std::int64_t rows, float* c, std::int64_t stride);

/// BF16 weights and activations; rows [first, first + rows) of x.
void bf16_product(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const BFloatRows& x,
                  std::int64_t first, std::int64_t rows, float* c, std::int64_t stride);

/// Quantized weights and int8 activations; rows [first, first + rows) of x.
void int8_product(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const Int8Rows& x,
                  std::int64_t first, std::int64_t rows, float* c, std::int64_t stride);

/// Whether this processor has the instructions of bf16_product and int8_product, and they are not switched
/// off: by forbidding Highway's AVX3, or by allow_dot_products (tests).
bool has_bf16_product();
bool has_int8_product();
void allow_dot_products(bool allowed);

/// Calls work(first, count) with `count` an integral constant of at most kMost, for parts of [0, rows) that
/// are as even as possible.
template <int kMost, typename Work>
inline void in_even_parts(std::int64_t rows, const Work& work) {
  const std::int64_t parts = (rows + kMost - 1) / kMost;
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::int64_t first = rows * part / parts, count = rows * (part + 1) / parts - first;
    const auto try_one = [&](auto many) {
      if (many == count) work(first, many);
    };
    const auto try_all = [&]<int... kBefore>(std::integer_sequence<int, kBefore...>) {
      (try_one(std::integral_constant<int, kBefore + 1>()), ...);
    };
    try_all(std::make_integer_sequence<int, kMost>());
  }
}

}  // namespace mamba3::cpu
