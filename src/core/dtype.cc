#include "core/dtype.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "core/checked.h"
#include "core/error.h"
#include "core/half.h"
#include "core/quant/codec.h"

namespace mamba3 {
namespace {

struct Row {
  DType type;
  std::string_view name;
  Block block;
  bool real;
};

constexpr std::array kTypes = {
    Row{DType::f64, "F64", {1, 8}, true},
    Row{DType::f32, "F32", {1, 4}, true},
    Row{DType::f16, "F16", {1, 2}, true},
    Row{DType::bf16, "BF16", {1, 2}, true},
    Row{DType::i64, "I64", {1, 8}, false},
    Row{DType::i32, "I32", {1, 4}, false},
    Row{DType::i16, "I16", {1, 2}, false},
    Row{DType::i8, "I8", {1, 1}, false},
    Row{DType::u8, "U8", {1, 1}, false},
    Row{DType::boolean, "BOOL", {1, 1}, false},
    Row{DType::q8_0, "Q8_0", {kQ8Elements, kQ8Bytes}, true},
    Row{DType::q4_0, "Q4_0", {kQ8Elements, kQ4_0Bytes}, true},
    Row{DType::q4_1, "Q4_1", {kQ8Elements, kQ4_1Bytes}, true},
    Row{DType::q5_0, "Q5_0", {kQ8Elements, kQ5_0Bytes}, true},
    Row{DType::q5_1, "Q5_1", {kQ8Elements, kQ5_1Bytes}, true},
    Row{DType::q4_k, "Q4_K", {kKElements, kQ4KBytes}, true},
    Row{DType::q5_k, "Q5_K", {kKElements, kQ5KBytes}, true},
    Row{DType::q6_k, "Q6_K", {kKElements, kQ6KBytes}, true},
};

const Row& row_of(DType type) {
  return kTypes[static_cast<std::size_t>(type)];
}

template <typename T>
T load(const std::byte* from, std::int64_t index) {
  T value;
  std::memcpy(&value, from + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <typename T>
void store(std::byte* to, std::int64_t index, T value) {
  std::memcpy(to + index * static_cast<std::int64_t>(sizeof(T)), &value, sizeof(T));
}

template <typename Real>
void convert(DType type, const std::byte* from, std::int64_t elements, Real* to) {
  switch (type) {
    case DType::f64:
      for (std::int64_t i = 0; i < elements; ++i) to[i] = static_cast<Real>(load<double>(from, i));
      return;
    case DType::f32:
      for (std::int64_t i = 0; i < elements; ++i) to[i] = load<float>(from, i);
      return;
    case DType::f16:
      for (std::int64_t i = 0; i < elements; ++i) to[i] = f16_to_float(load<std::uint16_t>(from, i));
      return;
    case DType::bf16:
      for (std::int64_t i = 0; i < elements; ++i) to[i] = bf16_to_float(load<std::uint16_t>(from, i));
      return;
    default:
      if (is_quantized(type)) return quant::decode(type, from, elements, to);
      fail(ErrorCode::unsupported, "a tensor of type {} does not hold real numbers", name_of(type));
  }
}

}  // namespace

Block block_of(DType type) {
  return row_of(type).block;
}
std::string_view name_of(DType type) {
  return row_of(type).name;
}
bool is_float(DType type) {
  return row_of(type).real;
}

bool is_quantized(DType type) {
  return row_of(type).block.elements > 1;
}

std::vector<std::string_view> float_type_names() {
  std::vector<std::string_view> names;
  for (const Row& row : kTypes) {
    if (row.real) names.push_back(row.name);
  }
  return names;
}

DType fitting_type(DType type, std::int64_t row) {
  if (row % block_of(type).elements == 0) return type;
  switch (type) {
    case DType::q4_k:
      return fitting_type(DType::q5_0, row);
    case DType::q5_k:
      return fitting_type(DType::q5_1, row);
    case DType::q6_k:
      return fitting_type(DType::q8_0, row);
    default:
      return DType::f32;
  }
}

std::optional<DType> dtype_named(std::string_view name) {
  const auto same = [](char a, char b) {
    return std::toupper(static_cast<unsigned char>(a)) == std::toupper(static_cast<unsigned char>(b));
  };
  for (const Row& row : kTypes) {
    if (std::ranges::equal(name, row.name, same)) return row.type;
  }
  return std::nullopt;
}

std::optional<std::int64_t> bytes_of(DType type, std::int64_t elements) {
  const Block block = block_of(type);
  if (elements < 0 || elements % block.elements != 0) return std::nullopt;
  return checked_mul(elements / block.elements, block.bytes);
}

void to_float(DType type, const std::byte* from, std::int64_t elements, float* to) {
  convert(type, from, elements, to);
}

void to_double(DType type, const std::byte* from, std::int64_t elements, double* to) {
  convert(type, from, elements, to);
}

void from_float(DType type, const float* from, std::int64_t elements, std::byte* to,
                const float* importance) {
  switch (type) {
    case DType::f64:
      for (std::int64_t i = 0; i < elements; ++i) store(to, i, static_cast<double>(from[i]));
      return;
    case DType::f32:
      if (elements > 0) std::memcpy(to, from, static_cast<std::size_t>(elements) * sizeof(float));
      return;
    case DType::f16:
      for (std::int64_t i = 0; i < elements; ++i) store(to, i, float_to_f16(from[i]));
      return;
    case DType::bf16:
      for (std::int64_t i = 0; i < elements; ++i) store(to, i, float_to_bf16(from[i]));
      return;
    default:
      if (is_quantized(type)) return quant::encode(type, from, elements, to, importance);
      fail(ErrorCode::unsupported, "real numbers cannot be stored as {}", name_of(type));
  }
}

}  // namespace mamba3
