#include "core/dtype.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstring>

#include "core/checked.h"
#include "core/error.h"
#include "core/half.h"

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
void q8_0_to(const std::byte* from, std::int64_t elements, Real* to) {
  for (std::int64_t i = 0; i < elements; i += kQ8Elements, from += kQ8Bytes) {
    const Real scale = f16_to_float(load<std::uint16_t>(from, 0));
    for (std::int64_t j = 0; j < kQ8Elements; ++j) to[i + j] = scale * load<std::int8_t>(from + 2, j);
  }
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
    case DType::q8_0:
      q8_0_to(from, elements, to);
      return;
    default:
      fail(ErrorCode::unsupported, "a tensor of type {} does not hold real numbers", name_of(type));
  }
}

// The rounding of ggml's reference: half away from zero, by the scale before it is rounded to f16.
void quantize_q8_0(const float* from, std::int64_t elements, std::byte* to) {
  for (std::int64_t i = 0; i < elements; i += kQ8Elements, to += kQ8Bytes) {
    float largest = 0;
    bool nan = false;
    for (std::int64_t j = 0; j < kQ8Elements; ++j) {
      largest = std::max(largest, std::fabs(from[i + j]));
      nan |= std::isnan(from[i + j]);
    }
    const float scale = largest / 127.0f;
    const std::uint16_t stored = float_to_f16(scale);
    if (nan || std::isinf(f16_to_float(stored))) {
      fail(ErrorCode::numeric, "Q8_0 cannot hold NaN, infinity or magnitudes above 8.3e6");
    }
    const float inverse = std::isinf(1.0f / scale) ? 0.0f : 1.0f / scale;
    store(to, 0, stored);
    for (std::int64_t j = 0; j < kQ8Elements; ++j) {
      store(to + 2, j, static_cast<std::int8_t>(std::round(from[i + j] * inverse)));
    }
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

void from_float(DType type, const float* from, std::int64_t elements, std::byte* to) {
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
    case DType::q8_0:
      quantize_q8_0(from, elements, to);
      return;
    default:
      fail(ErrorCode::unsupported, "real numbers cannot be stored as {}", name_of(type));
  }
}

}  // namespace mamba3
