// Element types of stored tensors and the conversions to and from float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace mamba3 {

enum class DType {
  f64,
  f32,
  f16,
  bf16,
  i64,
  i32,
  i16,
  i8,
  u8,
  boolean,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q4_k,
  q5_k,
  q6_k
};

/// A type's storage: `elements` values in `bytes` bytes. Plain types have blocks of one element.
struct Block {
  std::int64_t elements;
  std::int64_t bytes;
};

/// The quantized types are GGUF's; core/quant/blocks.h has their layouts.
/// Blocks of 32 values: Q8_0 is int8 values behind one float16 scale, and so on.
inline constexpr std::int64_t kQ8Elements = 32;
inline constexpr std::int64_t kQ8Bytes = 2 + kQ8Elements;
inline constexpr std::int64_t kQ4_0Bytes = 2 + 16;
inline constexpr std::int64_t kQ4_1Bytes = 2 + 2 + 16;
inline constexpr std::int64_t kQ5_0Bytes = 2 + 4 + 16;
inline constexpr std::int64_t kQ5_1Bytes = 2 + 2 + 4 + 16;
/// K-quants: blocks of 256 values in groups with scales of their own.
inline constexpr std::int64_t kKElements = 256;
inline constexpr std::int64_t kQ4KBytes = 2 + 2 + 12 + 128;
inline constexpr std::int64_t kQ5KBytes = 2 + 2 + 12 + 32 + 128;
inline constexpr std::int64_t kQ6KBytes = 128 + 64 + 16 + 2;

Block block_of(DType type);
std::string_view name_of(DType type);                     ///< "F32", "BF16", "Q8_0", ...
std::optional<DType> dtype_named(std::string_view name);  ///< any letter case; nothing when unknown
bool is_float(DType type);                                ///< holds real numbers, quantized or not
bool is_quantized(DType type);                            ///< real numbers in blocks: q8_0, q4_k, ...

std::vector<std::string_view> float_type_names();  ///< of all types that is_float says yes to

/// Bytes of `elements` values in whole blocks; nothing when they do not fill blocks or the size does not fit.
std::optional<std::int64_t> bytes_of(DType type, std::int64_t elements);

/// The type for rows of `row` values that are to be stored as `type`: `type` itself, or where its blocks do
/// not divide a row, llama.cpp's substitute with blocks of 32 (Q4_K: Q5_0, Q5_K: Q5_1, Q6_K: Q8_0), or else
/// F32.
DType fitting_type(DType type, std::int64_t row);

/// Converts `elements` values (whole blocks) of a float type; `from` may have any alignment.
void to_float(DType type, const std::byte* from, std::int64_t elements, float* to);
void to_double(DType type, const std::byte* from, std::int64_t elements, double* to);

/// Rounds to nearest even (f16, bf16), or quantizes: Q8_0 as ggml does (scale = max |x| / 127), the others
/// with a search for the scales that give a small squared error, columns weighted by `importance` when it is
/// given (`elements` values, finite, not negative). The same bits on every machine and for any division into
/// calls of whole blocks. Throws Error(numeric) for what a quantized type cannot hold: NaN, infinity,
/// magnitudes above its largest (Q8_0: 8.3e6).
void from_float(DType type, const float* from, std::int64_t elements, std::byte* to,
                const float* importance = nullptr);

}  // namespace mamba3
