#include <cstddef>
#include <cstdint>
#include <span>

#include "ops/ceiling/ceiling.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/ceiling/ceiling_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

std::uint64_t read_all(const std::byte* bytes, std::size_t size) {
  const hn::ScalableTag<std::uint64_t> d;
  const std::size_t step = hn::Lanes(d);
  const auto* words = reinterpret_cast<const std::uint64_t*>(bytes);
  auto a = hn::Zero(d), b = a, e = a, f = a;
  std::size_t i = 0;
  for (const std::size_t count = size / sizeof(std::uint64_t); i + 4 * step <= count; i += 4 * step) {
    a = hn::Xor(a, hn::LoadU(d, words + i));
    b = hn::Xor(b, hn::LoadU(d, words + i + step));
    e = hn::Xor(e, hn::LoadU(d, words + i + 2 * step));
    f = hn::Xor(f, hn::LoadU(d, words + i + 3 * step));
  }
  std::uint64_t result = hn::GetLane(hn::SumOfLanes(d, hn::Xor(hn::Xor(a, b), hn::Xor(e, f))));
  for (i *= sizeof(std::uint64_t); i < size; ++i) result ^= static_cast<std::uint64_t>(bytes[i]);
  return result;
}

// Twelve sums hide the latency of a fused multiply-add wherever two of 4 cycles run at once, or one of up to
// 12, and fit beside their operands into sixteen registers.
std::int64_t dot_f32(std::int64_t rounds) {
  constexpr int kSums = 12;
  const D d;
  V sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = hn::Zero(d);
  const V a = hn::Set(d, 1.0f), b = hn::Set(d, 0x1p-20f);
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (int i = 0; i < kSums; ++i) sums[i] = hn::MulAdd(a, b, sums[i]);
  }
  for (int i = 1; i < kSums; ++i) sums[0] = hn::Add(sums[0], sums[i]);
  volatile float sink = hn::GetLane(hn::SumOfLanes(d, sums[0]));
  (void)sink;
  return rounds * kSums * lanes() * 2;
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(read_all);
HWY_EXPORT(dot_f32);

std::uint64_t cpu::read_all(std::span<const std::byte> bytes) {
  return HWY_DYNAMIC_DISPATCH(read_all)(bytes.data(), bytes.size());
}

std::int64_t cpu::dot_f32(std::int64_t rounds) {
  return HWY_DYNAMIC_DISPATCH(dot_f32)(rounds);
}

}  // namespace mamba3
#endif
