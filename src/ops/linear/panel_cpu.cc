#include "ops/linear/panel.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/panel_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "ops/linear/planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

// Asks for a part of the quants of a panel, the bulk of its bytes.
class Prefetch {
 public:
  HWY_INLINE Prefetch(const PackedMatrix& W, const cpu::PanelPlace& place) {
    const cpu::BlockFields& f = cpu::fields_of(W.dtype);
    const std::int64_t stride = f.fields[0].units * f.fields[0].unit * cpu::kTileRows;
    bytes_ = stride * 32 / f.elements;
    from_ = W.tiles + place.tile * cpu::tile_bytes(f, W.cols) + place.first / f.elements * stride;
    end_ = from_ + place.count / 32 * bytes_;
  }
  /// What 32 inputs take.
  HWY_INLINE void some() {
    for (const std::byte* to = std::min(from_ + bytes_, end_); from_ < to; from_ += 64) {
      __builtin_prefetch(from_, 0, 2);  // to the second level: the first is full of panels
    }
  }

 private:
  const std::byte* from_;
  const std::byte* end_;
  std::int64_t bytes_;
};

// Lanes are rows: what a type does to one word of four quants or to one group's scale, it does to 16 rows.
template <DType kType>
void unpack_groups(const PackedMatrix& W, const cpu::PanelPlace& place, Prefetch next, cpu::QuantPanel& panel) {
  using Type = Quants<kType>;
  const D d;
  const DU du;
  const Planes planes(W, place.tile);
  const std::int64_t L = lanes();
  constexpr std::int64_t kGroups = 32 / Type::kGroup;  // in 32 inputs
  for (std::int64_t i = 0; i < place.count / 32; ++i) {
    const std::int64_t block = place.first / 32 + i;
    next.some();
    for (std::int64_t lane = 0; lane < cpu::kTileRows; lane += L) {
      std::uint32_t* quants = panel.quants + i * 8 * cpu::kTileRows + lane;
      for (std::int64_t q = 0; q < 8; ++q) {
        hn::Store(Type::quad(planes, block, q, lane), du, quants + q * cpu::kTileRows);
      }
      for (std::int64_t g = 0; g < kGroups; ++g) {
        const std::int64_t at = (i * kGroups + g) * cpu::kTileRows + lane;
        hn::Store(Type::scale(planes, block, g, lane), d, panel.scale + at);
        if constexpr (Type::kMinima) hn::Store(Type::offset(planes, block, lane), d, panel.offset + at);
      }
    }
  }
}

void unpack_any(const PackedMatrix& W, const cpu::PanelPlace& place, const cpu::PanelPlace& next,
                cpu::QuantPanel& panel) {
  with_quants(W.dtype, [&](auto type) {
    unpack_groups<decltype(type)::value>(W, place, Prefetch(W, next), panel);
  });
}

bool is_avx512() {
  return HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL;
}

cpu::QuantKind kind_of(DType type) {
  cpu::QuantKind kind{};
  with_quants(type, [&](auto t) {
    using Type = Quants<decltype(t)::value>;
    kind = {Type::kGroup, Type::kMinima, Type::kZero};
  });
  return kind;
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(unpack_any);
HWY_EXPORT(kind_of);
HWY_EXPORT(is_avx512);

namespace cpu {

void unpack_quants(const PackedMatrix& W, const PanelPlace& place, const PanelPlace& next, QuantPanel& panel) {
  HWY_DYNAMIC_DISPATCH(unpack_any)(W, place, next, panel);
}

bool avx512_is_chosen() {
  return HWY_DYNAMIC_DISPATCH(is_avx512)();
}

QuantKind quant_kind(DType type) {
  return HWY_DYNAMIC_DISPATCH(kind_of)(type);
}

}  // namespace cpu
}  // namespace mamba3
#endif
