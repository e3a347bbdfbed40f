// The numbers and limits that GGUF's reader and writer share.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "core/dtype.h"
#include "formats/gguf.h"

namespace mamba3::gguf {

inline constexpr std::string_view kMagic = "GGUF";
inline constexpr std::uint32_t kVersion = 3;
inline constexpr std::string_view kAlignmentKey = "general.alignment";
inline constexpr std::uint32_t kMaxAxes = 4;
inline constexpr std::uint64_t kMaxKeyBytes = 65535;

inline constexpr std::uint32_t kStringType = 8;
inline constexpr std::uint32_t kArrayType = 9;

/// Scalar types, by their place in GgufValue. Number 9 is the array, so three numbers are one further.
struct ValueType {
  std::uint32_t number;
  std::string_view name;
};
inline constexpr std::array kValueTypes = {
    ValueType{0, "uint8"},  ValueType{1, "int8"},    ValueType{2, "uint16"},  ValueType{3, "int16"},
    ValueType{4, "uint32"}, ValueType{5, "int32"},   ValueType{6, "float32"}, ValueType{7, "bool"},
    ValueType{8, "string"}, ValueType{10, "uint64"}, ValueType{11, "int64"},  ValueType{12, "float64"},
};
static_assert(std::variant_size_v<GgufValue> == 2 * kValueTypes.size());

inline bool is_array(const GgufValue& value) {
  return value.index() >= kValueTypes.size();
}

/// The type of a scalar, or of an array's elements.
inline const ValueType& value_type(const GgufValue& value) {
  return kValueTypes[value.index() % kValueTypes.size()];
}

/// ggml's tensor types; those without a DType are known by name and size only.
struct TensorType {
  std::uint32_t number;
  std::string_view name;
  Block block;
  std::optional<DType> dtype = std::nullopt;
};

inline TensorType known(std::uint32_t number, DType dtype) {
  return {number, name_of(dtype), block_of(dtype), dtype};
}

inline const std::array kTensorTypes = {
    known(0, DType::f32),
    known(1, DType::f16),
    known(2, DType::q4_0),
    known(3, DType::q4_1),
    known(6, DType::q5_0),
    known(7, DType::q5_1),
    known(8, DType::q8_0),
    TensorType{9, "Q8_1", {32, 40}},
    TensorType{10, "Q2_K", {256, 84}},
    TensorType{11, "Q3_K", {256, 110}},
    known(12, DType::q4_k),
    known(13, DType::q5_k),
    known(14, DType::q6_k),
    TensorType{15, "Q8_K", {256, 292}},
    TensorType{16, "IQ2_XXS", {256, 66}},
    TensorType{17, "IQ2_XS", {256, 74}},
    TensorType{18, "IQ3_XXS", {256, 98}},
    TensorType{19, "IQ1_S", {256, 50}},
    TensorType{20, "IQ4_NL", {32, 18}},
    TensorType{21, "IQ3_S", {256, 110}},
    TensorType{22, "IQ2_S", {256, 82}},
    TensorType{23, "IQ4_XS", {256, 136}},
    known(24, DType::i8),
    known(25, DType::i16),
    known(26, DType::i32),
    known(27, DType::i64),
    known(28, DType::f64),
    TensorType{29, "IQ1_M", {256, 56}},
    known(30, DType::bf16),
    TensorType{34, "TQ1_0", {256, 54}},
    TensorType{35, "TQ2_0", {256, 66}},
    TensorType{39, "MXFP4", {32, 17}},
    TensorType{40, "NVFP4", {64, 36}},
    TensorType{41, "Q1_0", {128, 18}},
};

}  // namespace mamba3::gguf
