// Small matrix products whose operands lie in the cache. Included once per instruction set.

#if defined(MAMBA3_OPS_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MAMBA3_OPS_PRODUCT_INL_H_
#undef MAMBA3_OPS_PRODUCT_INL_H_
#else
#define MAMBA3_OPS_PRODUCT_INL_H_
#endif

#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

/// Accumulators of a product, kept in registers: kRows rows of kVectors vectors.
template <int kRows, int kVectors>
struct Tile {
  static constexpr int rows = kRows;
  V sum[kRows][kVectors];

  /// Calls f(sum, row, column) for each accumulator, `column` counted in floats.
  template <typename F>
  HWY_INLINE void each(const F& f) {
    const std::int64_t L = lanes();
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kVectors; ++j) f(sum[i][j], i, j * L);
    }
  }

  HWY_INLINE void clear() {
    each([](V& v, int, std::int64_t) { v = hn::Zero(D()); });
  }
  HWY_INLINE void load(const float* from, std::int64_t ld) {
    each([&](V& v, int row, std::int64_t column) { v = hn::Load(D(), from + row * ld + column); });
  }
  HWY_INLINE void store(float* to, std::int64_t ld) {
    each([&](V& v, int row, std::int64_t column) { hn::Store(v, D(), to + row * ld + column); });
  }

  /// sum[i, j] += a(i, k) b[k, j] for k in [0, inner); a(i, k) = a[i a_row + k a_col]. One chain of fused
  /// multiply-adds over k for each element: its bits depend on nothing else.
  HWY_INLINE void add_product(const float* a, std::int64_t a_row, std::int64_t a_col, const float* b,
                              std::int64_t ldb, std::int64_t inner) {
    const D d;
    const std::int64_t L = lanes();
    for (std::int64_t k = 0; k < inner; ++k) {
      V right[kVectors];
      for (int j = 0; j < kVectors; ++j) right[j] = hn::Load(d, b + k * ldb + j * L);
      for (int i = 0; i < kRows; ++i) {
        const V left = hn::Set(d, a[i * a_row + k * a_col]);
        for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::MulAdd(left, right[j], sum[i][j]);
      }
    }
  }
};

template <int kRows, int kVectors, typename Body>
HWY_INLINE void each_tile_of(std::int64_t rows, std::int64_t& column, std::int64_t cols, const Body& body) {
  for (; column + kVectors * lanes() <= cols; column += kVectors * lanes()) {
    std::int64_t i = 0;
    for (; i + kRows <= rows; i += kRows) {
      Tile<kRows, kVectors> tile;
      body(tile, i, column);
    }
    for (; i < rows; ++i) {
      Tile<1, kVectors> tile;
      body(tile, i, column);
    }
  }
}

/// Calls body(tile, row, column) for tiles that cover [rows, cols], cols a multiple of kPadding. 16
/// accumulators hide the latency of multiply-adds and leave half of AVX-512's registers to the operands; with
/// 16 registers there are 8.
template <typename Body>
HWY_INLINE void each_tile(std::int64_t rows, std::int64_t cols, const Body& body) {
  constexpr int kVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;
  std::int64_t column = 0;
  each_tile_of<4, kVectors>(rows, column, cols, body);
  if constexpr (kVectors > 2) each_tile_of<8, 2>(rows, column, cols, body);
  each_tile_of<8, 1>(rows, column, cols, body);
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#endif
