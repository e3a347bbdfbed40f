#include "ops/swiglu/swiglu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/swiglu/swiglu_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

void swiglu(float* value, const float* gate, std::int64_t count) {
  const D d;
  const std::int64_t L = lanes();
  std::int64_t i = 0;
  for (; i + L <= count; i += L) {
    hn::StoreU(hn::Mul(hn::LoadU(d, value + i), silu(hn::LoadU(d, gate + i))), d, value + i);
  }
  for (; i < count; ++i) value[i] *= hn::GetLane(silu(hn::Set(d, gate[i])));
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(swiglu);

void cpu::swiglu(float* value, const float* gate, std::int64_t count) {
  HWY_DYNAMIC_DISPATCH(swiglu)(value, gate, count);
}

}  // namespace mamba3
#endif
