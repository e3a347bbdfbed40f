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

/// ggml's tensor types; those without a DType are known by name only.
struct TensorType {
  std::uint32_t number;
  std::string_view name;
  std::optional<DType> dtype = std::nullopt;
};
inline constexpr std::array kTensorTypes = {
    TensorType{0, "F32", DType::f32},
    TensorType{1, "F16", DType::f16},
    TensorType{2, "Q4_0"},
    TensorType{3, "Q4_1"},
    TensorType{6, "Q5_0"},
    TensorType{7, "Q5_1"},
    TensorType{8, "Q8_0", DType::q8_0},
    TensorType{9, "Q8_1"},
    TensorType{10, "Q2_K"},
    TensorType{11, "Q3_K"},
    TensorType{12, "Q4_K"},
    TensorType{13, "Q5_K"},
    TensorType{14, "Q6_K"},
    TensorType{15, "Q8_K"},
    TensorType{16, "IQ2_XXS"},
    TensorType{17, "IQ2_XS"},
    TensorType{18, "IQ3_XXS"},
    TensorType{19, "IQ1_S"},
    TensorType{20, "IQ4_NL"},
    TensorType{21, "IQ3_S"},
    TensorType{22, "IQ2_S"},
    TensorType{23, "IQ4_XS"},
    TensorType{24, "I8", DType::i8},
    TensorType{25, "I16", DType::i16},
    TensorType{26, "I32", DType::i32},
    TensorType{27, "I64", DType::i64},
    TensorType{28, "F64", DType::f64},
    TensorType{29, "IQ1_M"},
    TensorType{30, "BF16", DType::bf16},
    TensorType{34, "TQ1_0"},
    TensorType{35, "TQ2_0"},
    TensorType{39, "MXFP4"},
    TensorType{40, "NVFP4"},
    TensorType{41, "Q1_0"},
};

}  // namespace mamba3::gguf
