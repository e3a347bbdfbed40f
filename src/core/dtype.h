// Element types of stored tensors and the conversions to and from float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace mamba3 {

enum class DType { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean, q8_0 };

/// A type's storage: `elements` values in `bytes` bytes. Plain types have blocks of one element.
struct Block {
  std::int64_t elements;
  std::int64_t bytes;
};

/// Q8_0 (GGUF): 32 int8 values behind one float16 scale.
inline constexpr std::int64_t kQ8Elements = 32;
inline constexpr std::int64_t kQ8Bytes = 2 + kQ8Elements;

Block block_of(DType type);
std::string_view name_of(DType type);                     ///< "F32", "BF16", "Q8_0", ...
std::optional<DType> dtype_named(std::string_view name);  ///< any letter case; nothing when unknown
bool is_float(DType type);                                ///< holds real numbers: f64, f32, f16, bf16, q8_0

/// Bytes of `elements` values in whole blocks; nothing when they do not fill blocks or the size does not fit.
std::optional<std::int64_t> bytes_of(DType type, std::int64_t elements);

/// Converts `elements` values (whole blocks) of a float type; `from` may have any alignment.
void to_float(DType type, const std::byte* from, std::int64_t elements, float* to);
void to_double(DType type, const std::byte* from, std::int64_t elements, double* to);

/// Rounds to nearest even (f16, bf16), or quantizes as ggml does (q8_0, scale = max |x| / 127). Throws
/// Error(numeric) for what Q8_0 cannot hold: NaN, infinity, magnitudes above 8.3e6.
void from_float(DType type, const float* from, std::int64_t elements, std::byte* to);

}  // namespace mamba3
