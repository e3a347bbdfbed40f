// Products by AVX-512's dot product instructions. Highway 1.0.3 has neither them nor a target that implies
// them, so they are called by name, in its AVX-512 target with BF16 and VNNI added, behind a look at the
// processor.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/processors.h"
#include "ops/linear/kernels_cpu.h"
#include "ops/linear/panel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/dot_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "ops/linear/planes-inl.h"

// One attribute for all: of several, clang takes the first alone.
#if HWY_TARGET == HWY_AVX3
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512bf16,avx512vnni")
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace mamba3 {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_AVX3

using namespace cpu;  // NOLINT: this file is that room's, for one instruction set

constexpr bool kHere = true;

// With so few rows a product waits for memory: it reads the weights as one stream, a tile after the other,
// which is what processors prefetch best (four streams of a tile each reached two thirds of it).
constexpr int kFewRows = 8;

HWY_INLINE __m512i broadcast(const void* four_bytes) {
  int word;
  std::memcpy(&word, four_bytes, sizeof word);
  return _mm512_set1_epi32(word);
}

// c [kRows, kTiles * 16] = x [kRows, 2 * pairs] times the tiles' pairs. Asks the memory for as many bytes
// from `next` on as one tile has, unless it is null.
template <int kRows, int kTiles>
HWY_INLINE void bf16_tiles(const std::byte* tile, std::int64_t tile_bytes, std::int64_t pairs,
                           const std::uint16_t* x, std::int64_t x_stride, const std::byte* next, float* c,
                           std::int64_t stride) {
  __m512 sum[kRows][kTiles];
  for (int i = 0; i < kRows; ++i) {
    for (int t = 0; t < kTiles; ++t) sum[i][t] = _mm512_setzero_ps();
  }
  for (std::int64_t k = 0; k < pairs; ++k) {
    __m512i weight[kTiles];
    for (int t = 0; t < kTiles; ++t) weight[t] = _mm512_loadu_si512(tile + t * tile_bytes + k * 64);
    if (kTiles > 1 && next != nullptr) _mm_prefetch(next + k * 64, _MM_HINT_T1);
    for (int i = 0; i < kRows; ++i) {
      const __m512i value = broadcast(x + i * x_stride + 2 * k);
      for (int t = 0; t < kTiles; ++t) {
        sum[i][t] = _mm512_dpbf16_ps(sum[i][t], (__m512bh)weight[t], (__m512bh)value);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int t = 0; t < kTiles; ++t) _mm512_storeu_ps(c + i * stride + t * kTileRows, sum[i][t]);
  }
}

// What int8_tiles needs of its rows, at one panel's inputs.
struct Int8Part {
  const std::int8_t* values;
  const float* scale;
  const std::int32_t* sum16;
  const std::int32_t* sum32;
  std::int64_t stride, scales, sums;

  Int8Part(const Int8Rows& x, std::int64_t row, std::int64_t k)
      : values(x.values + row * x.stride + k),
        scale(x.scale + row * x.scales + k / kScaleInputs),
        sum16(x.sum16 + row * x.sums + k / 16),
        sum32(x.sum32 + row * x.sums + k / 32),
        stride(x.stride),
        scales(x.scales),
        sums(x.sums) {}
  Int8Part from(std::int64_t row) const {
    Int8Part part = *this;
    part.values += row * stride, part.scale += row * scales;
    part.sum16 += row * sums, part.sum32 += row * sums;
    return part;
  }
  /// Minus the sum of group g of a row.
  const std::int32_t* negated(int row, std::int64_t g, std::int64_t group) const {
    return (group == 16 ? sum16 : sum32) + row * sums + g;
  }
};

// What a zero point of 2^bits adds to a group's sum, negative.
HWY_INLINE __m512i taken_off(const std::int32_t* negated_sum, int bits) {
  return _mm512_slli_epi32(broadcast(negated_sum), static_cast<unsigned>(bits));
}

// Where int8_tiles finds its weights, in blocks of 32 inputs: unpacked in a panel for each tile ...
template <int kGroupInputs, bool kWithMinima>
struct FromPanels {
  static constexpr int kGroup = kGroupInputs;
  static constexpr bool kMinima = kWithMinima;
  const QuantPanel* panels;
  int zero_bits;

  HWY_INLINE __m512i quad(int tile, std::int64_t block, int q) const {
    return _mm512_load_si512(panels[tile].quants + (block * 8 + q) * kTileRows);
  }
  HWY_INLINE __m512 scale(int tile, std::int64_t block, int g) const {
    return _mm512_load_ps(panels[tile].scale + (block * (32 / kGroup) + g) * kTileRows);
  }
  HWY_INLINE __m512 offset(int tile, std::int64_t block) const {
    return _mm512_load_ps(panels[tile].offset + block * kTileRows);
  }
};

// ... or as they lie in one tile, from its block `first` on.
template <DType kType>
struct FromPlanes {
  using Type = Quants<kType>;
  static constexpr int kGroup = Type::kGroup;
  static constexpr bool kMinima = Type::kMinima;
  static constexpr int zero_bits = Type::kZeroBits;
  Planes planes;
  std::int64_t first;

  HWY_INLINE __m512i quad(int, std::int64_t block, int q) const {
    return Type::quad(planes, first + block, q, 0).raw;
  }
  HWY_INLINE __m512 scale(int, std::int64_t block, int g) const {
    return Type::scale(planes, first + block, g, 0).raw;
  }
  HWY_INLINE __m512 offset(int, std::int64_t block) const {
    return Type::offset(planes, first + block, 0).raw;
  }
};

// c [kRows, kTiles * 16] += (or =) x [kRows, 32 blocks] times the weights. The instruction multiplies
// unsigned with signed bytes: weights carry a zero point, whose part of the sum is taken off beforehand.
template <int kRows, int kTiles, typename Weights>
HWY_INLINE void int8_tiles(const Weights& weights, std::int64_t blocks, const Int8Part& x, bool begins,
                           float* c, std::int64_t stride) {
  constexpr int kGroup = Weights::kGroup, kGroups = 32 / kGroup, kQuads = kGroup / 4;
  __m512 sum[kRows][kTiles];
  for (int i = 0; i < kRows; ++i) {
    for (int t = 0; t < kTiles; ++t) sum[i][t] = _mm512_setzero_ps();
  }
  for (std::int64_t block = 0; block < blocks; ++block) {
    for (int g = 0; g < kGroups; ++g) {
      const auto negated = [&](int i) { return x.negated(i, block * kGroups + g, kGroup); };
      __m512i part[kRows][kTiles];
      for (int i = 0; i < kRows; ++i) {
        const __m512i begin =
            Weights::kMinima ? _mm512_setzero_si512() : taken_off(negated(i), weights.zero_bits);
        for (int t = 0; t < kTiles; ++t) part[i][t] = begin;
      }
      for (int q = g * kQuads; q < (g + 1) * kQuads; ++q) {
        __m512i weight[kTiles];
        for (int t = 0; t < kTiles; ++t) weight[t] = weights.quad(t, block, q);
        for (int i = 0; i < kRows; ++i) {
          const __m512i value = broadcast(x.values + i * x.stride + block * 32 + q * 4);
          for (int t = 0; t < kTiles; ++t) part[i][t] = _mm512_dpbusd_epi32(part[i][t], weight[t], value);
        }
      }
      for (int t = 0; t < kTiles; ++t) {
        const __m512 scale = weights.scale(t, block, g);
        for (int i = 0; i < kRows; ++i) {
          sum[i][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(part[i][t]), scale, sum[i][t]);
        }
        if constexpr (Weights::kMinima) {
          const __m512 offset = weights.offset(t, block);
          for (int i = 0; i < kRows; ++i) {
            sum[i][t] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(broadcast(negated(i))), offset, sum[i][t]);
          }
        }
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    const __m512 scale = _mm512_set1_ps(x.scale[i * x.scales]);
    for (int t = 0; t < kTiles; ++t) {
      float* out = c + i * stride + t * kTileRows;
      const __m512 before = begins ? _mm512_setzero_ps() : _mm512_loadu_ps(out);
      _mm512_storeu_ps(out, _mm512_fmadd_ps(sum[i][t], scale, before));
    }
  }
}

// With three tiles at once, 8 rows of bf16 have 24 sums in registers; 4 rows of int8 have 12 of int32 and 12
// of float32 (5 x 2, 6 x 2 and 7 x 2 were slower by 3, 1 and 10 percent).
constexpr int kBf16Rows = 8, kInt8Rows = 4;

// One panel of each of up to kTilesAtOnce tiles, for all rows.
template <int kMostRows, int kTiles, int kGroup, bool kMinima>
void int8_panels(const QuantPanel* panels, std::int64_t count, int zero_bits, const Int8Part& x,
                 std::int64_t rows, bool begins, float* c, std::int64_t stride) {
  const FromPanels<kGroup, kMinima> weights{panels, zero_bits};
  in_even_parts<kMostRows>(rows, [&](std::int64_t row, auto many) {
    int8_tiles<decltype(many)::value, kTiles>(weights, count / 32, x.from(row), begins, c + row * stride,
                                              stride);
  });
}

template <int kMostRows, int kTiles>
auto int8_kernel(const QuantKind& kind) {
  return kind.group == 16 ? int8_panels<kMostRows, kTiles, 16, false>
         : kind.minima    ? int8_panels<kMostRows, kTiles, 32, true>
                          : int8_panels<kMostRows, kTiles, 32, false>;
}

// kTiles tiles, panel after panel.
template <int kMostRows, int kTiles>
void int8_columns(const PackedMatrix& W, std::int64_t tile, const Int8Rows& x, std::int64_t first,
                  std::int64_t rows, float* c, std::int64_t stride) {
  const QuantKind kind = quant_kind(W.dtype);
  const auto run = int8_kernel<kMostRows, kTiles>(kind);
  QuantPanel panels[kTiles];
  for (std::int64_t k = 0; k < W.cols; k += kPanelInputs) {
    const std::int64_t count = std::min(kPanelInputs, W.cols - k);
    for (int t = 0; t < kTiles; ++t) unpack_quants(W, tile + t, k, count, panels[t]);
    run(panels, count, kind.zero_bits, Int8Part(x, first, k), rows, k == 0, c, stride);
  }
}

// One tile and few rows: the quants go from the packed weights to the products in registers.
template <DType kType, int kRows>
void int8_stream(const PackedMatrix& W, std::int64_t tile, const Int8Rows& x, std::int64_t first, float* c,
                 std::int64_t stride) {
  const auto planes = Planes::of<kType>(W, tile);
  for (std::int64_t k = 0; k < W.cols; k += kPanelInputs) {
    const std::int64_t blocks = std::min(kPanelInputs, W.cols - k) / 32;
    int8_tiles<kRows, 1>(FromPlanes<kType>{planes, k / 32}, blocks, Int8Part(x, first, k), k == 0, c, stride);
  }
}

void bf16_group(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const BFloatRows& x,
                std::int64_t first, std::int64_t rows, float* c, std::int64_t stride) {
  constexpr BlockFields f = kFieldsOf<DType::bf16>;
  const std::int64_t bytes = tile_bytes(f, W.cols), pairs = blocks_of(f, W.cols);
  const std::byte* from = W.tiles + tile * bytes;
  const auto one_by_one = [&](std::int64_t row, auto many) {
    const std::uint16_t* values = x.values + (first + row) * x.stride;
    for (std::int64_t t = 0; t < tiles; ++t) {
      bf16_tiles<decltype(many)::value, 1>(from + t * bytes, bytes, pairs, values, x.stride, nullptr,
                                           c + row * stride + t * kTileRows, stride);
    }
  };
  if (rows <= kFewRows) return in_even_parts<kFewRows>(rows, one_by_one);
  std::int64_t t = 0;
  for (; t + kTilesAtOnce <= tiles; t += kTilesAtOnce) {
    const std::byte* now = from + t * bytes;
    // The first parts fetch the tiles that come next, one each, while they compute.
    const std::byte* next = now + kTilesAtOnce * bytes;
    const std::byte* end = W.tiles + std::min(tile + t + 2 * kTilesAtOnce, tiles_of(W.rows)) * bytes;
    in_even_parts<kBf16Rows>(rows, [&](std::int64_t row, auto many) {
      bf16_tiles<decltype(many)::value, kTilesAtOnce>(now, bytes, pairs, x.values + (first + row) * x.stride,
                                                      x.stride, next < end ? next : nullptr,
                                                      c + row * stride + t * kTileRows, stride);
      next += bytes;
    });
  }
  if (t == tiles) return;
  from += t * bytes, c += t * kTileRows, tiles -= t;
  in_even_parts<kFewRows>(rows, one_by_one);
}

void int8_group(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const Int8Rows& x,
                std::int64_t first, std::int64_t rows, float* c, std::int64_t stride) {
  if (rows <= kFewRows) {
    return with_quants(W.dtype, [&](auto type) {
      in_even_parts<kFewRows>(rows, [&](std::int64_t row, auto many) {
        for (std::int64_t t = 0; t < tiles; ++t) {
          int8_stream<decltype(type)::value, decltype(many)::value>(W, tile + t, x, first + row,
                                                                    c + row * stride + t * kTileRows, stride);
        }
      });
    });
  }
  std::int64_t t = 0;
  for (; t + kTilesAtOnce <= tiles; t += kTilesAtOnce) {
    int8_columns<kInt8Rows, kTilesAtOnce>(W, tile + t, x, first, rows, c + t * kTileRows, stride);
  }
  for (; t < tiles; ++t) int8_columns<kInt8Rows, 1>(W, tile + t, x, first, rows, c + t * kTileRows, stride);
}

#else

constexpr bool kHere = false;

void bf16_group(const PackedMatrix&, std::int64_t, std::int64_t, const cpu::BFloatRows&, std::int64_t,
                std::int64_t, float*, std::int64_t) {}
void int8_group(const PackedMatrix&, std::int64_t, std::int64_t, const cpu::Int8Rows&, std::int64_t,
                std::int64_t, float*, std::int64_t) {}

#endif

bool is_here() {
  return kHere;
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(bf16_group);
HWY_EXPORT(int8_group);
HWY_EXPORT(is_here);

namespace cpu {
namespace {

std::atomic<bool> allowed = true;

}  // namespace

void bf16_product(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const BFloatRows& x,
                  std::int64_t first, std::int64_t rows, float* c, std::int64_t stride) {
  HWY_DYNAMIC_DISPATCH(bf16_group)(W, tile, tiles, x, first, rows, c, stride);
}

void int8_product(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const Int8Rows& x,
                  std::int64_t first, std::int64_t rows, float* c, std::int64_t stride) {
  HWY_DYNAMIC_DISPATCH(int8_group)(W, tile, tiles, x, first, rows, c, stride);
}

bool has_bf16_product() {
  return has_avx512_bf16() && allowed && HWY_DYNAMIC_DISPATCH(is_here)();
}

bool has_int8_product() {
  return has_avx512_vnni() && allowed && HWY_DYNAMIC_DISPATCH(is_here)();
}

void allow_dot_products(bool yes) {
  allowed = yes;
}

}  // namespace cpu
}  // namespace mamba3
#endif
