// Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0: blocks of 32 values with one scale, some with a minimum.
#include <algorithm>
#include <cmath>

#include "core/half.h"
#include "core/quant/blocks.h"
#include "core/quant/codec.h"
#include "core/quant/search.h"

namespace mamba3::quant {
namespace {

constexpr int kValues = 32;

template <typename Block>
constexpr bool kHasMin = requires(Block b) {
  b.m;
};
template <typename Block>
constexpr bool kFiveBits = requires(Block b) {
  b.qh;
};
/// What is added to a code when it is stored.
template <typename Block>
constexpr int kBias = kHasMin<Block> ? 0 : (kFiveBits<Block> ? 16 : 8);
template <typename Block>
constexpr CodeRange kRange = {-kBias<Block>, (kFiveBits<Block> ? 31 : 15) - kBias<Block>};

template <typename Block>
int code(const Block& block, int i) {
  const int shift = i < 16 ? 0 : 4;
  int q = block.qs[i % 16] >> shift & 15;
  if constexpr (kFiveBits<Block>) q |= (block.qh[i / 8] >> i % 8 & 1) << 4;
  return q - kBias<Block>;
}

template <typename Block>
void put(Block& block, int i, int code) {
  const int q = code + kBias<Block>;
  block.qs[i % 16] |= static_cast<std::uint8_t>((q & 15) << (i < 16 ? 0 : 4));
  if constexpr (kFiveBits<Block>) block.qh[i / 8] |= static_cast<std::uint8_t>((q >> 4) << i % 8);
}

template <typename Block, typename Real>
void decode_block(const Block& block, Real* to) {
  const Real d = f16_to_float(block.d);
  for (int i = 0; i < kValues; ++i) {
    to[i] = d * static_cast<Real>(code(block, i));
    if constexpr (kHasMin<Block>) to[i] += f16_to_float(block.m);
  }
}

template <typename Real>
void decode_block(const BlockQ8_0& block, Real* to) {
  const Real d = f16_to_float(block.d);
  for (int i = 0; i < kValues; ++i) to[i] = d * block.qs[i];
}

template <typename Block>
Block encode_block(const float* x, const float* importance) {
  float w[kValues], q[kValues];
  error_weights(x, importance, kValues, w);
  Block block{};
  Affine fit;
  if constexpr (kHasMin<Block>) {
    fit = fit_affine(x, w, kValues, kRange<Block>.highest);
    block.m = stored_scale(-fit.minus);
    fit.minus = -f16_to_float(block.m);
  } else {
    fit.scale = fit_scale(x, w, kValues, kRange<Block>);
  }
  block.d = stored_scale(fit.scale);
  fit.scale = f16_to_float(block.d);
  nearest_codes(x, w, kValues, fit, kRange<Block>, q);
  for (int i = 0; i < kValues; ++i) put(block, i, static_cast<int>(q[i]));
  return block;
}

// The rounding of ggml's reference: half away from zero, by the scale before it is rounded to float16. A
// search gains nothing at eight bits, and llama.cpp makes none.
BlockQ8_0 encode_q8_0(const float* x) {
  float largest = 0;
  for (int i = 0; i < kValues; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float scale = largest / 127.0f;
  const float inverse = std::isinf(1.0f / scale) ? 0.0f : 1.0f / scale;
  BlockQ8_0 block{};
  block.d = float_to_f16(scale);
  for (int i = 0; i < kValues; ++i) block.qs[i] = static_cast<std::int8_t>(std::round(x[i] * inverse));
  return block;
}

/// Calls with(Block()) for the type's block.
template <typename With>
void with_block(DType type, With with) {
  switch (type) {
    case DType::q4_0:
      return with(BlockQ4_0());
    case DType::q4_1:
      return with(BlockQ4_1());
    case DType::q5_0:
      return with(BlockQ5_0());
    case DType::q5_1:
      return with(BlockQ5_1());
    default:
      return with(BlockQ8_0());
  }
}

}  // namespace

template <typename Real>
void decode_simple(DType type, const std::byte* from, std::int64_t elements, Real* to) {
  with_block(type, [&]<typename Block>(Block) {
    for_blocks<Block>(from, elements, kValues, to,
                      [](const Block& block, Real* values) { decode_block(block, values); });
  });
}

void encode_simple(DType type, const float* from, std::int64_t elements, std::byte* to,
                   const float* importance) {
  with_block(type, [&]<typename Block>(Block) {
    make_blocks(from, elements, kValues, to, importance, [](const float* x, const float* weights) {
      if constexpr (std::is_same_v<Block, BlockQ8_0>) {
        (void)weights;
        return encode_q8_0(x);
      } else {
        return encode_block<Block>(x, weights);
      }
    });
  });
}

template void decode_simple(DType, const std::byte*, std::int64_t, float*);
template void decode_simple(DType, const std::byte*, std::int64_t, double*);

}  // namespace mamba3::quant
