// Rows of activations as the dot product instructions take them.
#pragma once

#include <cstdint>

#include "core/arena.h"

namespace mamba3::cpu {

/// Inputs that share a scale. Long enough that the scale costs nothing, short enough that one large value
/// spoils few others; llama.cpp's Q8_K has the same.
inline constexpr std::int64_t kScaleInputs = 256;
/// [rows, stride] bf16, rounded to nearest even; an odd last input is followed by a zero.
struct BFloatRows {
  const std::uint16_t* values;
  std::int64_t stride;  ///< values from row to row
};

/// q [rows, stride] int8 in [-127, 127], x = scale q; scale [rows, scales], the largest of kScaleInputs
/// values over 127; sum16 and sum32 [rows, sums]: minus the sums of q over 16 and 32 inputs, the groups of
/// quantized weights. A value that is not finite makes its scale NaN.
struct Int8Rows {
  const std::int8_t* values;
  const float* scale;
  const std::int32_t* sum16;
  const std::int32_t* sum32;
  std::int64_t stride, scales, sums;
};

/// x [rows, cols], dense, shared among the threads; the memory is the arena's. round_to_int8 takes cols that
/// are multiples of 32.
BFloatRows round_to_bf16(Arena& arena, const float* x, std::int64_t rows, std::int64_t cols);
Int8Rows round_to_int8(Arena& arena, const float* x, std::int64_t rows, std::int64_t cols);

}  // namespace mamba3::cpu
