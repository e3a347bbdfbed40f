#include "ops/linear/activations.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/half.h"
#include "core/threads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/activations_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

using cpu::kScaleInputs;

// The shorter groups.
constexpr std::int64_t kSumInputs = 16;
using DI = hn::RebindToSigned<D>;

void bf16_row(const float* x, std::int64_t cols, std::uint16_t* out) {
  const D d;
  const hn::RebindToUnsigned<D> bits;
  const hn::Rebind<std::uint16_t, D> half;
  const std::int64_t L = lanes();
  std::int64_t k = 0;
  for (; k + L <= cols; k += L) {
    const V value = hn::LoadU(d, x + k);
    const auto u = hn::BitCast(bits, value);
    const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(bits, 1u));
    auto rounded = hn::Add(u, hn::Add(odd, hn::Set(bits, 0x7fffu)));
    // A NaN's fraction must not carry into the sign.
    const auto nan = hn::RebindMask(bits, hn::IsNaN(value));
    rounded = hn::IfThenElse(nan, hn::Or(u, hn::Set(bits, 0x400000u)), rounded);
    hn::StoreU(hn::TruncateTo(half, hn::ShiftRight<16>(rounded)), half, out + k);
  }
  for (; k < cols; ++k) out[k] = float_to_bf16(x[k]);
}

// One group of kScaleInputs or fewer; n is a multiple of kSumInputs. Returns the scale.
float int8_group(const float* x, std::int64_t n, std::int8_t* q, std::int32_t* sum16) {
  const D d;
  const DI di;
  const hn::Rebind<std::int8_t, D> bytes;
  const std::int64_t L = lanes();
  // As integers, magnitudes compare like the values, and infinity and NaN are above all others.
  auto most = hn::Zero(di);
  for (std::int64_t k = 0; k < n; k += L) most = hn::Max(most, hn::BitCast(di, hn::Abs(hn::LoadU(d, x + k))));
  const float largest = hn::GetLane(hn::BitCast(d, hn::MaxOfLanes(di, most)));
  const bool finite = largest <= std::numeric_limits<float>::max();
  const float inverse = finite && largest > 0 ? 127.0f / largest : 0.0f;
  // The inverse of a denormal is infinite: such a group is zero.
  const V factor = hn::Set(d, std::isinf(inverse) ? 0.0f : inverse);
  for (std::int64_t group = 0; group < n; group += kSumInputs) {
    auto total = hn::Zero(di);
    for (std::int64_t k = group; k < group + kSumInputs; k += L) {
      const auto value = finite ? hn::NearestInt(hn::Mul(hn::LoadU(d, x + k), factor)) : hn::Zero(di);
      hn::StoreU(hn::DemoteTo(bytes, value), bytes, q + k);
      total = hn::Add(total, value);
    }
    sum16[group / kSumInputs] = -hn::GetLane(hn::SumOfLanes(di, total));
  }
  return finite ? largest / 127.0f : std::numeric_limits<float>::quiet_NaN();
}

void int8_row(const float* x, std::int64_t cols, std::int8_t* q, float* scale, std::int32_t* sum16,
              std::int32_t* sum32) {
  for (std::int64_t k = 0; k < cols; k += kScaleInputs) {
    scale[k / kScaleInputs] =
        int8_group(x + k, std::min(kScaleInputs, cols - k), q + k, sum16 + k / kSumInputs);
  }
  for (std::int64_t i = 0; i < cols / 32; ++i) sum32[i] = sum16[2 * i] + sum16[2 * i + 1];
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(bf16_row);
HWY_EXPORT(int8_row);

namespace cpu {
namespace {

// A row's bytes rounded up to cache lines, and an odd number of them: rows of a power of two would all fall
// into the same sets of the first-level cache.
std::int64_t line_stride(std::int64_t bytes) {
  return ((bytes + 63) / 64 | 1) * 64;
}

// Values below which waking the others costs more than it saves: 2 microseconds at 8 a nanosecond.
constexpr std::int64_t kWorthSharing = 16'000;

template <typename Work>
void each_row(std::int64_t rows, std::int64_t cols, const Work& work) {
  const auto range = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = first; row < last; ++row) work(row);
  };
  rows* cols < kWorthSharing ? range(0, rows) : parallel_ranges(rows, range);
}

}  // namespace

BFloatRows round_to_bf16(Arena& arena, const float* x, std::int64_t rows, std::int64_t cols) {
  const std::int64_t stride = line_stride(2 * (cols + 1)) / 2;
  auto* values = arena.take<std::uint16_t>(rows * stride);
  each_row(rows, cols, [&](std::int64_t row) {
    std::uint16_t* out = values + row * stride;
    HWY_DYNAMIC_DISPATCH(bf16_row)(x + row * cols, cols, out);
    out[cols] = 0;
  });
  return {values, stride};
}

Int8Rows round_to_int8(Arena& arena, const float* x, std::int64_t rows, std::int64_t cols) {
  const std::int64_t stride = line_stride(cols);
  const std::int64_t scales = (cols + kScaleInputs - 1) / kScaleInputs, sums = cols / 16;
  auto* values = arena.take<std::int8_t>(rows * stride);
  auto* scale = arena.take<float>(rows * scales);
  auto* sum16 = arena.take<std::int32_t>(rows * sums);
  auto* sum32 = arena.take<std::int32_t>(rows * sums);
  each_row(rows, cols, [&](std::int64_t row) {
    HWY_DYNAMIC_DISPATCH(int8_row)
    (x + row * cols, cols, values + row * stride, scale + row * scales, sum16 + row * sums,
     sum32 + row * sums);
  });
  return {values, scale, sum16, sum32, stride, scales, sums};
}

}  // namespace cpu
}  // namespace mamba3
#endif
