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

// Lanes are rows: what a type does to one word of four quants or to one group's scale, it does to 16 rows.
template <DType kType>
void unpack_groups(const PackedMatrix& W, std::int64_t tile, std::int64_t first, std::int64_t count,
                   cpu::QuantPanel& panel) {
  using Type = Quants<kType>;
  const D d;
  const DU du;
  const auto planes = Planes::of<kType>(W, tile);
  const std::int64_t L = lanes();
  constexpr std::int64_t kGroups = 32 / Type::kGroup;  // in 32 inputs
  for (std::int64_t i = 0; i < count / 32; ++i) {
    const std::int64_t block = first / 32 + i;
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

void unpack_any(const PackedMatrix& W, std::int64_t tile, std::int64_t first, std::int64_t count,
                cpu::QuantPanel& panel) {
  with_quants(W.dtype,
              [&](auto type) { unpack_groups<decltype(type)::value>(W, tile, first, count, panel); });
}

cpu::QuantKind kind_of(DType type) {
  cpu::QuantKind kind{};
  with_quants(type, [&](auto t) {
    using Type = Quants<decltype(t)::value>;
    kind = {Type::kGroup, Type::kMinima, Type::kZeroBits};
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

namespace cpu {

void unpack_quants(const PackedMatrix& W, std::int64_t tile, std::int64_t first, std::int64_t count,
                   QuantPanel& panel) {
  HWY_DYNAMIC_DISPATCH(unpack_any)(W, tile, first, count, panel);
}

QuantKind quant_kind(DType type) {
  return HWY_DYNAMIC_DISPATCH(kind_of)(type);
}

}  // namespace cpu
}  // namespace mamba3
#endif
