// Products by AVX-512's dot product instructions. Highway 1.0.3 has neither them nor a target that implies
// them, so they are called by name, in its AVX-512 target with BF16 and VNNI added, behind a look at the
// processor.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "ops/linear/kernels_cpu.h"
#include "ops/linear/panel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/dot_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "ops/linear/planes-inl.h"

HWY_BEFORE_NAMESPACE();
#if HWY_TARGET == HWY_AVX3
HWY_PUSH_ATTRIBUTES("avx512bf16,avx512vnni")
#endif
namespace mamba3 {
namespace HWY_NAMESPACE {
#if HWY_TARGET == HWY_AVX3

using namespace cpu;  // NOLINT: this file is that room's, for one instruction set

constexpr bool kHere = true;

// With so few rows a product waits for memory: it reads the weights as one stream, a tile after the other, which
// is what processors prefetch best (four streams of a tile each reached two thirds of it).
constexpr int kFewRows = 8;

HWY_INLINE __m512i broadcast(const void* four_bytes) {
  int word;
  std::memcpy(&word, four_bytes, sizeof word);
  return _mm512_set1_epi32(word);
}

// c [kRows, kTiles * 16] = x [kRows, 2 * pairs] times the tiles' pairs.
template <int kRows, int kTiles>
HWY_INLINE void bf16_tiles(const std::byte* tile, std::int64_t tile_bytes, std::int64_t pairs,
                       const std::uint16_t* x, std::int64_t stride, float* c) {
  __m512 sum[kRows][kTiles];
  for (int i = 0; i < kRows; ++i) {
    for (int t = 0; t < kTiles; ++t) sum[i][t] = _mm512_setzero_ps();
  }
  for (std::int64_t k = 0; k < pairs; ++k) {
    __m512i weight[kTiles];
    for (int t = 0; t < kTiles; ++t) weight[t] = _mm512_loadu_si512(tile + t * tile_bytes + k * 64);
    for (int i = 0; i < kRows; ++i) {
      const __m512i value = broadcast(x + i * stride + 2 * k);
      for (int t = 0; t < kTiles; ++t) {
        sum[i][t] = _mm512_dpbf16_ps(sum[i][t], (__m512bh)weight[t], (__m512bh)value);
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int t = 0; t < kTiles; ++t) _mm512_storeu_ps(c + i * kGroupRows + t * kTileRows, sum[i][t]);
  }
}

// What int8_tiles needs of its rows, at one panel's inputs.
struct Int8Part {
  const std::int8_t* values;
  const float* scale;
  const std::int32_t* sum;
  std::int64_t stride, scales, sums;
};

// c [kRows, kTiles * 16] += x [kRows, groups * kGroup] times the panels. The instruction multiplies unsigned
// with signed bytes: weights carry a zero point, whose part of the sum is taken off beforehand.
template <int kRows, int kTiles, int kGroup, bool kMinima>
HWY_INLINE void int8_tiles(const QuantPanel* panel, std::int64_t groups, std::int32_t zero, const Int8Part& x,
                       bool begins, float* c) {
  __m512 sum[kRows][kTiles];
  for (int i = 0; i < kRows; ++i) {
    for (int t = 0; t < kTiles; ++t) sum[i][t] = _mm512_setzero_ps();
  }
  for (std::int64_t g = 0; g < groups; ++g) {
    __m512i part[kRows][kTiles];
    std::int32_t total[kRows];
    for (int i = 0; i < kRows; ++i) {
      const std::int32_t* sums = x.sum + i * x.sums + g * (kGroup / kSumInputs);
      total[i] = kGroup == kSumInputs ? sums[0] : sums[0] + sums[1];
      for (int t = 0; t < kTiles; ++t) {
        part[i][t] = kMinima ? _mm512_setzero_si512() : _mm512_set1_epi32(-zero * total[i]);
      }
    }
    for (int q = 0; q < kGroup / 4; ++q) {
      const std::int64_t quad = g * (kGroup / 4) + q;
      __m512i weight[kTiles];
      for (int t = 0; t < kTiles; ++t) weight[t] = _mm512_load_si512(panel[t].quants + quad * kTileRows);
      for (int i = 0; i < kRows; ++i) {
        const __m512i value = broadcast(x.values + i * x.stride + 4 * quad);
        for (int t = 0; t < kTiles; ++t) part[i][t] = _mm512_dpbusd_epi32(part[i][t], weight[t], value);
      }
    }
    for (int t = 0; t < kTiles; ++t) {
      const __m512 scale = _mm512_load_ps(panel[t].scale + g * kTileRows);
      for (int i = 0; i < kRows; ++i) {
        sum[i][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(part[i][t]), scale, sum[i][t]);
      }
      if constexpr (kMinima) {
        const __m512 offset = _mm512_load_ps(panel[t].offset + g * kTileRows);
        for (int i = 0; i < kRows; ++i) {
          sum[i][t] = _mm512_fmadd_ps(_mm512_set1_ps(static_cast<float>(total[i])), offset, sum[i][t]);
        }
      }
    }
  }
  for (int i = 0; i < kRows; ++i) {
    const __m512 scale = _mm512_set1_ps(x.scale[i * x.scales]);
    for (int t = 0; t < kTiles; ++t) {
      float* out = c + i * kGroupRows + t * kTileRows;
      const __m512 before = begins ? _mm512_setzero_ps() : _mm512_loadu_ps(out);
      _mm512_storeu_ps(out, _mm512_fmadd_ps(sum[i][t], scale, before));
    }
  }
}

// 5 rows and 2 tiles have 10 sums of int32 and 10 of float32 in registers; 8 rows and 1 tile 8 of each.
constexpr int kInt8Rows = 5, kInt8Tiles = 2;

// One panel of each of up to kInt8Tiles tiles, for all rows.
template <int kMostRows, int kTiles, int kGroup, bool kMinima>
void int8_panels(const QuantPanel* panels, std::int64_t count, std::int32_t zero, const Int8Part& x,
                 std::int64_t rows, bool begins, float* c) {
  in_even_parts<kMostRows>(rows, [&](std::int64_t row, auto many) {
    const Int8Part part{x.values + row * x.stride, x.scale + row * x.scales, x.sum + row * x.sums,
                        x.stride,                  x.scales,                 x.sums};
    int8_tiles<decltype(many)::value, kTiles, kGroup, kMinima>(panels, count / kGroup, zero, part, begins,
                                                               c + row * kGroupRows);
  });
}

template <int kMostRows, int kTiles>
auto int8_kernel(const QuantKind& kind) {
  return kind.group == kSumInputs ? int8_panels<kMostRows, kTiles, 16, false>
         : kind.minima            ? int8_panels<kMostRows, kTiles, 32, true>
                                  : int8_panels<kMostRows, kTiles, 32, false>;
}

// kTiles tiles, panel after panel.
template <int kMostRows, int kTiles>
void int8_columns(const PackedMatrix& W, std::int64_t tile, const Int8Rows& x, std::int64_t first,
                  std::int64_t rows, float* c) {
  const QuantKind kind = quant_kind(W.dtype);
  const auto run = int8_kernel<kMostRows, kTiles>(kind);
  QuantPanel panels[kTiles];
  for (std::int64_t k = 0; k < W.cols; k += kPanelInputs) {
    const std::int64_t count = std::min(kPanelInputs, W.cols - k);
    for (int t = 0; t < kTiles; ++t) unpack_quants(W, tile + t, k, count, panels[t]);
    const Int8Part part{x.values + first * x.stride + k,
                        x.scale + first * x.scales + k / kScaleInputs,
                        x.sum + first * x.sums + k / kSumInputs,
                        x.stride,
                        x.scales,
                        x.sums};
    run(panels, count, kind.zero, part, rows, k == 0, c);
  }
}

// One tile and few rows: the quants go from the packed weights to the products in registers.
template <DType kType, int kRows>
void int8_stream(const PackedMatrix& W, std::int64_t tile, const Int8Rows& x, std::int64_t first, float* c) {
  using Type = Quants<kType>;
  const Planes planes(W, tile);
  const std::int8_t* values = x.values + first * x.stride;
  const std::int32_t* sums = x.sum + first * x.sums;
  __m512 total[kRows];
  for (int i = 0; i < kRows; ++i) total[i] = _mm512_setzero_ps();
  for (std::int64_t k = 0; k < W.cols; k += kPanelInputs) {
    __m512 sum[kRows];
    for (int i = 0; i < kRows; ++i) sum[i] = _mm512_setzero_ps();
    for (std::int64_t block = k / 32; block < std::min(k + kPanelInputs, W.cols) / 32; ++block) {
      for (std::int64_t g = 0; g < 32 / Type::kGroup; ++g) {
        __m512i part[kRows];
        std::int32_t group_sum[kRows];
        for (int i = 0; i < kRows; ++i) {
          const std::int32_t* of_row = sums + i * x.sums + block * 2 + g;
          group_sum[i] = Type::kGroup == kSumInputs ? of_row[0] : of_row[0] + of_row[1];
          part[i] = Type::kMinima ? _mm512_setzero_si512() : _mm512_set1_epi32(-Type::kZero * group_sum[i]);
        }
        for (std::int64_t q = g * Type::kGroup / 4; q < (g + 1) * Type::kGroup / 4; ++q) {
          const __m512i weight = Type::quad(planes, block, q, 0).raw;
          for (int i = 0; i < kRows; ++i) {
            part[i] = _mm512_dpbusd_epi32(part[i], weight, broadcast(values + i * x.stride + block * 32 + q * 4));
          }
        }
        const __m512 scale = Type::scale(planes, block, g, 0).raw;
        for (int i = 0; i < kRows; ++i) sum[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(part[i]), scale, sum[i]);
        if constexpr (Type::kMinima) {
          const __m512 offset = Type::offset(planes, block, 0).raw;
          for (int i = 0; i < kRows; ++i) {
            sum[i] = _mm512_fmadd_ps(_mm512_set1_ps(static_cast<float>(group_sum[i])), offset, sum[i]);
          }
        }
      }
    }
    for (int i = 0; i < kRows; ++i) {
      const float scale = x.scale[(first + i) * x.scales + k / kScaleInputs];
      total[i] = _mm512_fmadd_ps(sum[i], _mm512_set1_ps(scale), total[i]);
    }
  }
  for (int i = 0; i < kRows; ++i) _mm512_storeu_ps(c + i * kGroupRows, total[i]);
}

void bf16_group(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const BFloatRows& x,
                  std::int64_t first, std::int64_t rows, float* c) {
  const BlockFields& f = fields_of(W.dtype);
  const std::int64_t bytes = tile_bytes(f, W.cols), pairs = blocks_of(f, W.cols);
  const std::byte* from = W.tiles + tile * bytes;
  const auto one_by_one = [&](std::int64_t row, auto many) {
    const std::uint16_t* values = x.values + (first + row) * x.stride;
    for (std::int64_t t = 0; t < tiles; ++t) {
      bf16_tiles<decltype(many)::value, 1>(from + t * bytes, bytes, pairs, values, x.stride,
                                           c + row * kGroupRows + t * kTileRows);
    }
  };
  if (rows <= kFewRows) return in_even_parts<kFewRows>(rows, one_by_one);
  in_even_parts<6>(rows, [&](std::int64_t row, auto many) {
    if (tiles < kGroupTiles) return one_by_one(row, many);
    bf16_tiles<decltype(many)::value, kGroupTiles>(from, bytes, pairs, x.values + (first + row) * x.stride,
                                                   x.stride, c + row * kGroupRows);
  });
}

void int8_group(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const Int8Rows& x,
                std::int64_t first, std::int64_t rows, float* c) {
  if (rows <= kFewRows) {
    return with_quants(W.dtype, [&](auto type) {
      in_even_parts<kFewRows>(rows, [&](std::int64_t row, auto many) {
        for (std::int64_t t = 0; t < tiles; ++t) {
          int8_stream<decltype(type)::value, decltype(many)::value>(W, tile + t, x, first + row,
                                                                    c + row * kGroupRows + t * kTileRows);
        }
      });
    });
  }
  std::int64_t t = 0;
  for (; t + kInt8Tiles <= tiles; t += kInt8Tiles) {
    int8_columns<kInt8Rows, kInt8Tiles>(W, tile + t, x, first, rows, c + t * kTileRows);
  }
  for (; t < tiles; ++t) int8_columns<kInt8Rows, 1>(W, tile + t, x, first, rows, c + t * kTileRows);
}

#else

constexpr bool kHere = false;

void bf16_group(const PackedMatrix&, std::int64_t, std::int64_t, const cpu::BFloatRows&, std::int64_t,
                std::int64_t, float*) {}
void int8_group(const PackedMatrix&, std::int64_t, std::int64_t, const cpu::Int8Rows&, std::int64_t,
                std::int64_t, float*) {}

#endif

bool is_here() {
  return kHere;
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
#if HWY_TARGET == HWY_AVX3
HWY_POP_ATTRIBUTES
#endif
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(bf16_group);
HWY_EXPORT(int8_group);
HWY_EXPORT(is_here);

namespace cpu {
namespace {

std::atomic<bool> allowed = true;

#if HWY_ARCH_X86
const bool processor_has_bf16 = __builtin_cpu_supports("avx512bf16") != 0;
const bool processor_has_int8 = __builtin_cpu_supports("avx512vnni") != 0;
#else
const bool processor_has_bf16 = false, processor_has_int8 = false;
#endif

}  // namespace

void bf16_product(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const BFloatRows& x,
                  std::int64_t first, std::int64_t rows, float* c) {
  HWY_DYNAMIC_DISPATCH(bf16_group)(W, tile, tiles, x, first, rows, c);
}

void int8_product(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const Int8Rows& x,
                  std::int64_t first, std::int64_t rows, float* c) {
  HWY_DYNAMIC_DISPATCH(int8_group)(W, tile, tiles, x, first, rows, c);
}

bool has_bf16_product() {
  return processor_has_bf16 && allowed && HWY_DYNAMIC_DISPATCH(is_here)();
}

bool has_int8_product() {
  return processor_has_int8 && allowed && HWY_DYNAMIC_DISPATCH(is_here)();
}

void allow_dot_products(bool yes) {
  allowed = yes;
}

}  // namespace cpu
}  // namespace mamba3
#endif
