#include "ops/linear/weights_cpu.h"

#include <algorithm>
#include <vector>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/weights_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "ops/simd/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

// Bytes of any alignment as a vector of T with as many lanes as V.
template <typename T>
HWY_INLINE auto load_unaligned(const std::byte* from) {
  const hn::Rebind<T, D> d;
  const hn::Repartition<std::uint8_t, decltype(d)> bytes;
  return hn::BitCast(d, hn::LoadU(bytes, reinterpret_cast<const std::uint8_t*>(from)));
}

HWY_INLINE V scale_of(const std::byte* block) {
  std::uint16_t bits;
  __builtin_memcpy(&bits, block, sizeof bits);
  const hn::Rebind<std::uint16_t, D> d16;
  const hn::Rebind<hwy::float16_t, D> half;
  return hn::PromoteTo(D(), hn::BitCast(half, hn::Set(d16, bits)));
}

// A plain type's values from element k of a row, as one vector.
template <DType kType>
struct Reader;

template <>
struct Reader<DType::f32> {
  static HWY_INLINE V vector(const std::byte* row, std::int64_t k) {
    return load_unaligned<float>(row + k * 4);
  }
};

template <>
struct Reader<DType::bf16> {
  static HWY_INLINE V vector(const std::byte* row, std::int64_t k) {
    const auto bits = load_unaligned<std::uint16_t>(row + k * 2);
    const hn::Rebind<std::uint32_t, D> d32;
    return hn::BitCast(D(), hn::ShiftLeft<16>(hn::PromoteTo(d32, bits)));
  }
};

template <>
struct Reader<DType::f16> {
  static HWY_INLINE V vector(const std::byte* row, std::int64_t k) {
    const hn::Rebind<hwy::float16_t, D> half;
    return hn::PromoteTo(D(), hn::BitCast(half, load_unaligned<std::uint16_t>(row + k * 2)));
  }
};

HWY_INLINE V int8_vector(const std::byte* from) {
  const hn::Rebind<std::int8_t, D> d8;
  const hn::Rebind<std::int32_t, D> d32;
  const auto bytes = hn::LoadU(d8, reinterpret_cast<const std::int8_t*>(from));
  return hn::ConvertTo(D(), hn::PromoteTo(d32, bytes));
}

// Dot products of `kRows` rows that lie `stride` bytes apart with x; one accumulator a row, so that a row's
// bits do not depend on how rows are grouped.
template <DType kType, int kRows>
HWY_INLINE void dot_tile(const std::byte* row, std::int64_t stride, const float* x, std::int64_t cols,
                         float* sums) {
  const D d;
  const std::int64_t L = lanes();
  V sum[kRows];
  for (int i = 0; i < kRows; ++i) sum[i] = hn::Zero(d);
  if constexpr (kType == DType::q8_0) {
    for (std::int64_t k = 0, at = 0; k < cols; k += kQ8Elements, at += kQ8Bytes) {
      V block[kRows];
      for (int i = 0; i < kRows; ++i) block[i] = hn::Zero(d);
      for (std::int64_t j = 0; j < kQ8Elements; j += L) {
        const V right = hn::LoadU(d, x + k + j);
        for (int i = 0; i < kRows; ++i) {
          block[i] = hn::MulAdd(int8_vector(row + i * stride + at + 2 + j), right, block[i]);
        }
      }
      for (int i = 0; i < kRows; ++i) sum[i] = hn::MulAdd(scale_of(row + i * stride + at), block[i], sum[i]);
    }
  } else {
    std::int64_t k = 0;
    for (; k + L <= cols; k += L) {
      const V right = hn::LoadU(d, x + k);
      for (int i = 0; i < kRows; ++i) {
        sum[i] = hn::MulAdd(Reader<kType>::vector(row + i * stride, k), right, sum[i]);
      }
    }
    if (k < cols) {
      HWY_ALIGN float left[kPadding] = {};
      HWY_ALIGN float right[kPadding] = {};
      std::copy(x + k, x + cols, right);
      for (int i = 0; i < kRows; ++i) {
        const std::int64_t bytes = bytes_of(kType, 1).value_or(0);
        to_float(kType, row + i * stride + k * bytes, cols - k, left);
        sum[i] = hn::MulAdd(hn::Load(d, left), hn::Load(d, right), sum[i]);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) sums[i] = hn::GetLane(hn::SumOfLanes(d, sum[i]));
}

// Four rows in flight hide the latency of a fused multiply-add (4 cycles) and share the loads of x.
constexpr int kDotRows = 4;

template <DType kType>
void dot_rows_of(const Matrix& W, std::int64_t first, std::int64_t last, const float* x, std::int64_t rows,
                 float* y) {
  const std::int64_t stride = W.row_bytes();
  for (std::int64_t j = first; j < last; j += kDotRows) {
    const std::byte* row = W.data + j * stride;
    for (std::int64_t i = 0; i < rows; ++i) {
      const float* right = x + i * W.cols;
      float* out = y + i * W.rows + j;
      if (j + kDotRows <= last) {
        dot_tile<kType, kDotRows>(row, stride, right, W.cols, out);
      } else {
        for (std::int64_t r = j; r < last; ++r) {
          dot_tile<kType, 1>(W.data + r * stride, stride, right, W.cols, out + (r - j));
        }
      }
    }
  }
}

template <DType kType>
void decode_row(const std::byte* row, std::int64_t cols, float* out) {
  const D d;
  const std::int64_t L = lanes();
  if constexpr (kType == DType::q8_0) {
    for (std::int64_t k = 0; k < cols; k += kQ8Elements, row += kQ8Bytes) {
      const V scale = scale_of(row);
      for (std::int64_t j = 0; j < kQ8Elements; j += L) {
        hn::StoreU(hn::Mul(scale, int8_vector(row + 2 + j)), d, out + k + j);
      }
    }
  } else {
    std::int64_t k = 0;
    for (; k + L <= cols; k += L) hn::StoreU(Reader<kType>::vector(row, k), d, out + k);
    to_float(kType, row + k * bytes_of(kType, 1).value_or(0), cols - k, out + k);
  }
}

// Types without a kernel of their own.
void dot_decoded(const Matrix& W, std::int64_t first, std::int64_t last, const float* x, std::int64_t rows,
                 float* y) {
  thread_local std::vector<float> row;
  row.resize(static_cast<std::size_t>(W.cols));
  const auto* values = reinterpret_cast<const std::byte*>(row.data());
  for (std::int64_t j = first; j < last; ++j) {
    to_float(W.dtype, W.row(j), W.cols, row.data());
    for (std::int64_t i = 0; i < rows; ++i) {
      dot_tile<DType::f32, 1>(values, 0, x + i * W.cols, W.cols, y + i * W.rows + j);
    }
  }
}

void dot_rows(const Matrix& W, std::int64_t first, std::int64_t last, const float* x, std::int64_t rows,
              float* y) {
  switch (W.dtype) {
    case DType::f32:
      return dot_rows_of<DType::f32>(W, first, last, x, rows, y);
    case DType::bf16:
      return dot_rows_of<DType::bf16>(W, first, last, x, rows, y);
    case DType::f16:
      return dot_rows_of<DType::f16>(W, first, last, x, rows, y);
    case DType::q8_0:
      return dot_rows_of<DType::q8_0>(W, first, last, x, rows, y);
    default:
      return dot_decoded(W, first, last, x, rows, y);
  }
}

void decode_rows(const Matrix& W, std::int64_t first, std::int64_t count, float* out) {
  for (std::int64_t j = 0; j < count; ++j) {
    const std::byte* row = W.row(first + j);
    float* to = out + j * W.cols;
    switch (W.dtype) {
      case DType::f32:
        decode_row<DType::f32>(row, W.cols, to);
        break;
      case DType::bf16:
        decode_row<DType::bf16>(row, W.cols, to);
        break;
      case DType::f16:
        decode_row<DType::f16>(row, W.cols, to);
        break;
      case DType::q8_0:
        decode_row<DType::q8_0>(row, W.cols, to);
        break;
      default:
        to_float(W.dtype, row, W.cols, to);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(dot_rows);
HWY_EXPORT(decode_rows);

namespace cpu {

void decode_rows(const Matrix& W, std::int64_t first, std::int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(decode_rows)(W, first, count, out);
}

void dot_rows(const Matrix& W, std::int64_t first, std::int64_t last, const float* x, std::int64_t rows,
              float* y) {
  HWY_DYNAMIC_DISPATCH(dot_rows)(W, first, last, x, rows, y);
}

}  // namespace cpu
}  // namespace mamba3
#endif
