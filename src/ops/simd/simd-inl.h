// Shared vocabulary of the SIMD files: one vector type, the functions that Highway lacks, and a small matrix
// product. Included once per instruction set (Highway's foreach_target), hence the unusual guard.

#if defined(MAMBA3_OPS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MAMBA3_OPS_SIMD_INL_H_
#undef MAMBA3_OPS_SIMD_INL_H_
#else
#define MAMBA3_OPS_SIMD_INL_H_
#endif

#include <cstdint>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "ops/simd/padding.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, kPadding>;
using V = hn::Vec<D>;

HWY_INLINE std::int64_t lanes() {
  return static_cast<std::int64_t>(hn::Lanes(D()));
}

/// 1 / (1 + e^-v). e^-|v| never overflows, so both halves are exact to a few units of the last place.
HWY_INLINE V sigmoid(V v) {
  const D d;
  const V e = hn::Exp(d, hn::Neg(hn::Abs(v)));
  const V one = hn::Set(d, 1.0f);
  return hn::Div(hn::IfThenElse(hn::Ge(v, hn::Zero(d)), one, e), hn::Add(one, e));
}

HWY_INLINE V silu(V v) {
  return hn::Mul(v, sigmoid(v));
}

/// log(1 + e^v); the identity above 20, as PyTorch has it.
HWY_INLINE V softplus(V v) {
  const D d;
  const V limit = hn::Set(d, 20.0f);
  return hn::IfThenElse(hn::Gt(v, limit), v, hn::Log1p(d, hn::Exp(d, hn::Min(v, limit))));
}

/// Applies f to n values; the last, partial vector goes through a buffer, so each value has the same bits
/// wherever it stands.
template <typename F>
HWY_INLINE void transform(const float* from, std::int64_t n, float* to, const F& f) {
  const D d;
  const std::int64_t L = lanes();
  std::int64_t i = 0;
  for (; i + L <= n; i += L) hn::StoreU(f(hn::LoadU(d, from + i)), d, to + i);
  if (i == n) return;
  HWY_ALIGN float buffer[kPadding] = {};
  for (std::int64_t j = i; j < n; ++j) buffer[j - i] = from[j];
  hn::Store(f(hn::Load(d, buffer)), d, buffer);
  for (std::int64_t j = i; j < n; ++j) to[j] = buffer[j - i];
}

/// Rows of the left operand held in registers at once, and vectors of the right one: 4 x 4 accumulators fill
/// AVX-512's 32 registers half (the rest feed them); with 16 registers it is 4 x 2.
inline constexpr int kTileRows = 4;
inline constexpr int kTileVectors = HWY_TARGET <= HWY_AVX3 ? 4 : 2;

template <int kRows, int kVectors>
HWY_INLINE void product_tile(const float* a, std::int64_t a_row, std::int64_t a_col, const float* b,
                             std::int64_t ldb, std::int64_t inner, float* out, std::int64_t ldo,
                             bool accumulate) {
  const D d;
  const std::int64_t L = lanes();
  V sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j)
      sum[i][j] = accumulate ? hn::Load(d, out + i * ldo + j * L) : hn::Zero(d);
  }
  for (std::int64_t k = 0; k < inner; ++k) {
    V right[kVectors];
    for (int j = 0; j < kVectors; ++j) right[j] = hn::Load(d, b + k * ldb + j * L);
    for (int i = 0; i < kRows; ++i) {
      const V left = hn::Set(d, a[i * a_row + k * a_col]);
      for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::MulAdd(left, right[j], sum[i][j]);
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) hn::Store(sum[i][j], d, out + i * ldo + j * L);
  }
}

/// out[i, j] (+)= sum_k a(i, k) b[k, j] for i < rows, j < cols; a(i, k) = a[i a_row + k a_col]. rows is a
/// multiple of kTileRows, cols of kPadding; b and out are aligned to 64 bytes, ldb and ldo multiples of
/// kPadding. Each element is one chain of fused multiply-adds over k: its bits depend on nothing else.
HWY_INLINE void small_product(std::int64_t rows, std::int64_t cols, std::int64_t inner, const float* a,
                              std::int64_t a_row, std::int64_t a_col, const float* b, std::int64_t ldb,
                              float* out, std::int64_t ldo, bool accumulate) {
  const std::int64_t L = lanes();
  for (std::int64_t i = 0; i < rows; i += kTileRows) {
    std::int64_t j = 0;
    for (; j + kTileVectors * L <= cols; j += kTileVectors * L) {
      product_tile<kTileRows, kTileVectors>(a + i * a_row, a_row, a_col, b + j, ldb, inner, out + i * ldo + j,
                                            ldo, accumulate);
    }
    for (; j < cols; j += L) {
      product_tile<kTileRows, 1>(a + i * a_row, a_row, a_col, b + j, ldb, inner, out + i * ldo + j, ldo,
                                 accumulate);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#endif
