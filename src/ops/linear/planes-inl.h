// What each quantized type's bits mean, for the 16 rows of a tile at once. Included once per instruction set.
//
// The layouts are ggml's (core/quant/blocks.h), taken apart into planes (layout.h). A type gives, for 32
// inputs (`block`): the words of four quants (input 4q + i is byte i), the scale of each group, and its
// offset.

#if defined(MAMBA3_OPS_LINEAR_PLANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MAMBA3_OPS_LINEAR_PLANES_INL_H_
#undef MAMBA3_OPS_LINEAR_PLANES_INL_H_
#else
#define MAMBA3_OPS_LINEAR_PLANES_INL_H_
#endif

#include <type_traits>

#include "ops/linear/layout.h"
#include "ops/linear/linear.h"
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

using DU = hn::RebindToUnsigned<D>;
using VU = hn::Vec<DU>;

/// Words ahead of those in use that the memory is asked for, 8 KB: the processor's own prefetch does not
/// reach as far. Without it a step of one thread is 15 (Q8_0) to 35 percent (q4_k_m) slower.
inline constexpr std::int64_t kAhead = 2048;

/// A tile's planes, in the order of layout.h.
class Planes {
 public:
  /// kType is W's: made for every few inputs of a tile, so it costs no search and no division.
  template <DType kType>
  static HWY_INLINE Planes of(const PackedMatrix& W, std::int64_t tile) {
    constexpr cpu::BlockFields f = cpu::kFieldsOf<kType>;
    const auto at = cpu::planes_of(f, W.cols);
    const std::byte* from = W.tiles + tile * cpu::tile_bytes(f, W.cols);
    Planes planes;
    for (std::size_t i = 0; i < at.size(); ++i) planes.plane_[i] = from + at[i];
    return planes;
  }
  HWY_INLINE VU words(int plane, std::int64_t index, std::int64_t lane) const {
    const auto* from = reinterpret_cast<const std::uint32_t*>(plane_[plane]) + index * cpu::kTileRows + lane;
    __builtin_prefetch(from + kAhead, 0, 2);
    return hn::LoadU(DU(), from);
  }
  HWY_INLINE VU bytes(int plane, std::int64_t index, std::int64_t lane) const {
    const hn::Rebind<std::uint8_t, D> d8;
    const auto* from = reinterpret_cast<const std::uint8_t*>(plane_[plane]) + index * cpu::kTileRows + lane;
    return hn::PromoteTo(DU(), hn::LoadU(d8, from));
  }
  HWY_INLINE V signed_bytes(int plane, std::int64_t index, std::int64_t lane) const {
    const hn::Rebind<std::int8_t, D> d8;
    const auto* from = reinterpret_cast<const std::int8_t*>(plane_[plane]) + index * cpu::kTileRows + lane;
    return hn::ConvertTo(D(), hn::PromoteTo(hn::RebindToSigned<D>(), hn::LoadU(d8, from)));
  }
  HWY_INLINE V halves(int plane, std::int64_t index, std::int64_t lane) const {
    const hn::Rebind<std::uint16_t, D> d16;
    const hn::Rebind<hwy::float16_t, D> half;
    const auto* from = reinterpret_cast<const std::uint16_t*>(plane_[plane]) + index * cpu::kTileRows + lane;
    return hn::PromoteTo(D(), hn::BitCast(half, hn::LoadU(d16, from)));
  }

 private:
  const std::byte* plane_[4];
};

HWY_INLINE VU mask(VU v, std::uint32_t each) {
  return hn::And(v, hn::Set(DU(), each));
}
HWY_INLINE V to_floats(VU v) {
  return hn::ConvertTo(D(), hn::BitCast(hn::RebindToSigned<D>(), v));
}

/// Shifts by a variable count, which is the same for all lanes.
HWY_INLINE VU shift_right(VU v, std::int64_t bits) {
  return hn::ShiftRightSame(v, static_cast<int>(bits));
}

// Four bits of 32 inputs: the first 16 in the low halves.
HWY_INLINE VU low_quad(const Planes& p, std::int64_t block, std::int64_t q, std::int64_t lane) {
  return mask(shift_right(p.words(0, block * 4 + q % 4, lane), q / 4 * 4), 0x0f0f0f0f);
}

// Bits 4q .. 4q + 3 of each word, one to a byte, as the fifth bit of a quant. The multiplication puts bit i
// at bit 8i.
HWY_INLINE VU fifth_bits(const Planes& p, std::int64_t block, std::int64_t q, std::int64_t lane) {
  const VU four = mask(shift_right(p.words(1, block, lane), 4 * q), 0xf);
  return hn::ShiftLeft<4>(mask(hn::Mul(four, hn::Set(DU(), 0x00204081u)), 0x01010101));
}

template <DType kType>
struct Quants;

// Q4_0, Q4_1, Q5_0 and Q5_1: a scale and perhaps a minimum for 32 inputs, as float16 in the last plane.
template <bool kFive, bool kWithMinima>
struct SimpleQuants {
  static constexpr std::int64_t kGroup = 32;
  static constexpr bool kMinima = kWithMinima;
  static constexpr int kZeroBits = kFive ? 4 : 3;
  static constexpr int kHalves = kFive ? 2 : 1;
  static HWY_INLINE VU quad(const Planes& p, std::int64_t block, std::int64_t q, std::int64_t lane) {
    const VU low = low_quad(p, block, q, lane);
    if constexpr (kFive) return hn::Or(low, fifth_bits(p, block, q, lane));
    return low;
  }
  static HWY_INLINE V scale(const Planes& p, std::int64_t block, std::int64_t, std::int64_t lane) {
    return p.halves(kHalves, kWithMinima ? 2 * block : block, lane);
  }
  static HWY_INLINE V offset(const Planes& p, std::int64_t block, std::int64_t lane) {
    return p.halves(kHalves, 2 * block + 1, lane);
  }
};
template <>
struct Quants<DType::q4_0> : SimpleQuants<false, false> {};
template <>
struct Quants<DType::q4_1> : SimpleQuants<false, true> {};
template <>
struct Quants<DType::q5_0> : SimpleQuants<true, false> {};
template <>
struct Quants<DType::q5_1> : SimpleQuants<true, true> {};

template <>
struct Quants<DType::q8_0> {
  static constexpr std::int64_t kGroup = 32;
  static constexpr bool kMinima = false;
  static constexpr int kZeroBits = 7;
  static HWY_INLINE VU quad(const Planes& p, std::int64_t block, std::int64_t q, std::int64_t lane) {
    return hn::Xor(p.words(0, block * 8 + q, lane), hn::Set(DU(), 0x80808080u));  // signed to unsigned + 128
  }
  static HWY_INLINE V scale(const Planes& p, std::int64_t block, std::int64_t, std::int64_t lane) {
    return p.halves(1, block, lane);
  }
};

// Q4_K and Q5_K: 6-bit scales and minima of eight groups of 32 inputs in 12 bytes, the second last plane; d
// and dmin in the last.
template <bool kFive>
struct GroupedQuants {
  static constexpr std::int64_t kGroup = 32;
  static constexpr bool kMinima = true;
  static constexpr int kZeroBits = 0;
  static constexpr int kScales = kFive ? 2 : 1;
  static HWY_INLINE VU quad(const Planes& p, std::int64_t block, std::int64_t q, std::int64_t lane) {
    const std::int64_t super = block / 8, g = block % 8;
    const VU low = mask(shift_right(p.words(0, super * 32 + g / 2 * 8 + q, lane), g % 2 * 4), 0x0f0f0f0f);
    if constexpr (kFive) {
      const VU bit = mask(shift_right(p.words(1, super * 8 + q, lane), g), 0x01010101);
      return hn::Or(low, hn::ShiftLeft<4>(bit));
    }
    return low;
  }
  // `which`: 0 for scales, 4 for minima. Groups below four have six bits of their own byte; the others four
  // bits of byte g + 4, and their upper two above the six bits of byte g - 4 (scales) or g (minima).
  static HWY_INLINE V six_bits(const Planes& p, std::int64_t block, std::int64_t which, std::int64_t lane) {
    const std::int64_t at = block / 8 * 12, g = block % 8;
    if (g < 4) return to_floats(mask(p.bytes(kScales, at + g + which, lane), 0x3f));
    const VU low = mask(shift_right(p.bytes(kScales, at + g + 4, lane), which), 0xf);
    const VU high = hn::ShiftRight<6>(p.bytes(kScales, at + g - 4 + which, lane));
    return to_floats(hn::Or(low, hn::ShiftLeft<4>(high)));
  }
  static HWY_INLINE V scale(const Planes& p, std::int64_t block, std::int64_t, std::int64_t lane) {
    return hn::Mul(p.halves(kScales + 1, block / 8 * 2, lane), six_bits(p, block, 0, lane));
  }
  static HWY_INLINE V offset(const Planes& p, std::int64_t block, std::int64_t lane) {
    return hn::Neg(hn::Mul(p.halves(kScales + 1, block / 8 * 2 + 1, lane), six_bits(p, block, 4, lane)));
  }
};
template <>
struct Quants<DType::q4_k> : GroupedQuants<false> {};
template <>
struct Quants<DType::q5_k> : GroupedQuants<true> {};

template <>
struct Quants<DType::q6_k> {
  static constexpr std::int64_t kGroup = 16;
  static constexpr bool kMinima = false;
  static constexpr int kZeroBits = 5;
  static HWY_INLINE VU quad(const Planes& p, std::int64_t block, std::int64_t q, std::int64_t lane) {
    const std::int64_t super = block / 8, half = block % 8 / 4, quarter = block % 4;
    const VU low = p.words(0, super * 32 + half * 16 + quarter % 2 * 8 + q, lane);
    const VU high = p.words(1, super * 16 + half * 8 + q, lane);
    return hn::Or(mask(shift_right(low, quarter / 2 * 4), 0x0f0f0f0f),
                  hn::ShiftLeft<4>(mask(shift_right(high, 2 * quarter), 0x03030303)));
  }
  static HWY_INLINE V scale(const Planes& p, std::int64_t block, std::int64_t g, std::int64_t lane) {
    return hn::Mul(p.halves(3, block / 8, lane), p.signed_bytes(2, block * 2 + g, lane));
  }
};

/// Calls f with the type as an integral constant; nothing for a type that is not quantized.
template <typename F>
HWY_INLINE void with_quants(DType type, const F& f) {
  switch (type) {
    case DType::q8_0:
      return f(std::integral_constant<DType, DType::q8_0>());
    case DType::q4_0:
      return f(std::integral_constant<DType, DType::q4_0>());
    case DType::q4_1:
      return f(std::integral_constant<DType, DType::q4_1>());
    case DType::q5_0:
      return f(std::integral_constant<DType, DType::q5_0>());
    case DType::q5_1:
      return f(std::integral_constant<DType, DType::q5_1>());
    case DType::q4_k:
      return f(std::integral_constant<DType, DType::q4_k>());
    case DType::q5_k:
      return f(std::integral_constant<DType, DType::q5_k>());
    case DType::q6_k:
      return f(std::integral_constant<DType, DType::q6_k>());
    default:
      return;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#endif
