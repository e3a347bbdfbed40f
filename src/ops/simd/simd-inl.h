// Shared vocabulary of the SIMD files: one vector type, and the functions that Highway lacks. Included once
// per instruction set (Highway's foreach_target), hence the unusual guard.

#if defined(MAMBA3_OPS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MAMBA3_OPS_SIMD_INL_H_
#undef MAMBA3_OPS_SIMD_INL_H_
#else
#define MAMBA3_OPS_SIMD_INL_H_
#endif

#include <algorithm>
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

/// The vector at `from`, of which n values are there; the others are zero.
HWY_INLINE V load_some(const float* from, std::int64_t n) {
  const D d;
  if (n >= lanes()) return hn::LoadU(d, from);
  HWY_ALIGN float buffer[kPadding] = {};
  std::copy_n(from, n, buffer);
  return hn::Load(d, buffer);
}

/// Stores the first n values of v.
HWY_INLINE void store_some(V v, float* to, std::int64_t n) {
  const D d;
  if (n >= lanes()) return hn::StoreU(v, d, to);
  HWY_ALIGN float buffer[kPadding];
  hn::Store(v, d, buffer);
  std::copy_n(buffer, n, to);
}

/// Cosine and sine of angles in [0, 2 pi], each within 2 units of the last place. The polynomials are those
/// of Cephes' sinf and cosf for |r| <= pi/4; pi/2 in three parts, of which the first two have so few bits
/// that only the last subtraction rounds.
HWY_INLINE void cosine_sine(V angle, V& cosine, V& sine) {
  const D d;
  const hn::RebindToSigned<D> di;
  const auto set = [&](float v) { return hn::Set(d, v); };
  const V quarter = hn::Round(hn::Mul(angle, set(0.636619772f)));
  V r = hn::NegMulAdd(quarter, set(1.5703125f), angle);
  r = hn::NegMulAdd(quarter, set(4.837512969970703125e-4f), r);
  r = hn::NegMulAdd(quarter, set(7.54978995489188216e-8f), r);
  const V z = hn::Mul(r, r);
  V s = hn::MulAdd(z, set(-1.9515295891e-4f), set(8.3321608736e-3f));
  s = hn::MulAdd(s, z, set(-1.6666654611e-1f));
  s = hn::MulAdd(s, hn::Mul(z, r), r);
  V c = hn::MulAdd(z, set(2.443315711809948e-5f), set(-1.388731625493765e-3f));
  c = hn::MulAdd(c, z, set(4.166664568298827e-2f));
  c = hn::MulAdd(c, hn::Mul(z, z), hn::NegMulAdd(z, set(0.5f), set(1.0f)));
  // A quarter turn takes (cos, sin) to (-sin, cos); bit 1 of the count is the half turn's sign.
  const auto turns = hn::ConvertTo(di, quarter);
  const auto is_odd = hn::MaskFromVec(hn::BitCast(d, hn::Neg(hn::And(turns, hn::Set(di, 1)))));
  const V sign = hn::SignBit(d);
  const auto half_turn = [&](auto count) { return hn::And(hn::BitCast(d, hn::ShiftLeft<30>(count)), sign); };
  cosine = hn::Xor(hn::IfThenElse(is_odd, s, c), half_turn(hn::Add(turns, hn::Set(di, 1))));
  sine = hn::Xor(hn::IfThenElse(is_odd, c, s), half_turn(turns));
}

/// Four rows of four values, as four columns.
HWY_INLINE void transpose_4x4(const float* const rows[4], float* to, std::int64_t ld) {
  const hn::FixedTag<float, 4> d;
  const auto a = hn::LoadU(d, rows[0]), b = hn::LoadU(d, rows[1]);
  const auto e = hn::LoadU(d, rows[2]), f = hn::LoadU(d, rows[3]);
  const auto ab = hn::InterleaveLower(d, a, b), ef = hn::InterleaveLower(d, e, f);
  const auto AB = hn::InterleaveUpper(d, a, b), EF = hn::InterleaveUpper(d, e, f);
  hn::StoreU(hn::ConcatLowerLower(d, ef, ab), d, to);
  hn::StoreU(hn::ConcatUpperUpper(d, ef, ab), d, to + ld);
  hn::StoreU(hn::ConcatLowerLower(d, EF, AB), d, to + 2 * ld);
  hn::StoreU(hn::ConcatUpperUpper(d, EF, AB), d, to + 3 * ld);
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#endif
