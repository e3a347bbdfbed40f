#include "core/quant/codec.h"

#include <cmath>

#include "core/error.h"

namespace mamba3::quant {
namespace {

bool is_k(DType type) {
  return block_of(type).elements == kKElements;
}

// The largest magnitude a type is given. Its scales are float16 (65504) times what multiplies them; a search
// may stretch a scale by an eighth, a minimum must reach the value itself.
float largest_of(DType type) {
  switch (type) {
    case DType::q4_0:
      return 4.5e5f;  // 65504 * 7
    case DType::q5_0:
      return 9.8e5f;  // 65504 * 15
    case DType::q8_0:
      return 8.3e6f;  // 65504 * 127
    case DType::q4_k:
    case DType::q5_k:
      return 4.1e6f;  // minima: 65504 * 63
    case DType::q6_k:
      return 2.6e8f;  // 65504 * 128 * 31
    default:
      return 6.5e4f;  // a minimum of its own
  }
}

void check(DType type, const float* from, std::int64_t elements) {
  const float largest = largest_of(type);
  bool fits = true;
  for (std::int64_t i = 0; i < elements; ++i) fits &= std::fabs(from[i]) <= largest;
  if (!fits) {
    fail(ErrorCode::numeric, "{} cannot hold NaN, infinity or magnitudes above {:g}", name_of(type), largest);
  }
}

}  // namespace

template <typename Real>
void decode(DType type, const std::byte* from, std::int64_t elements, Real* to) {
  is_k(type) ? decode_k(type, from, elements, to) : decode_simple(type, from, elements, to);
}

void encode(DType type, const float* from, std::int64_t elements, std::byte* to, const float* importance) {
  check(type, from, elements);
  is_k(type) ? encode_k(type, from, elements, to, importance)
             : encode_simple(type, from, elements, to, importance);
}

template void decode(DType, const std::byte*, std::int64_t, float*);
template void decode(DType, const std::byte*, std::int64_t, double*);

}  // namespace mamba3::quant
