// Products by AVX-512's dot product instructions. Highway 1.0.3 has neither them nor a target that implies
// them, so they are called by name, behind a look at the processor.
#include <hwy/base.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "ops/linear/kernels_cpu.h"
#include "ops/linear/panel.h"

#if HWY_ARCH_X86
#include <immintrin.h>

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni")

namespace mamba3::cpu {
namespace {

inline __m512i broadcast(const void* four_bytes) {
  int word;
  std::memcpy(&word, four_bytes, sizeof word);
  return _mm512_set1_epi32(word);
}

// c [kRows, kTiles * 16] = x [kRows, 2 * pairs] times the tiles' pairs.
template <int kRows, int kTiles>
inline void bf16_tiles(const std::byte* tile, std::int64_t tile_bytes, std::int64_t pairs,
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
inline void int8_tiles(const QuantPanel* panel, std::int64_t groups, std::int32_t zero, const Int8Part& x,
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

// 5 rows and 2 tiles have 10 sums of int32 and 10 of float32 in registers.
constexpr int kInt8Rows = 5, kInt8Tiles = 2;

template <int kGroup, bool kMinima>
void int8_panels(const QuantPanel* panels, std::int64_t tiles, std::int64_t count, std::int32_t zero,
                 const Int8Part& x, std::int64_t rows, bool begins, float* c) {
  for (std::int64_t tile = 0; tile < tiles; tile += kInt8Tiles) {
    in_even_parts<kInt8Rows>(rows, [&](std::int64_t row, auto many) {
      constexpr int kRows = decltype(many)::value;
      const Int8Part part{x.values + row * x.stride, x.scale + row * x.scales, x.sum + row * x.sums,
                          x.stride,                  x.scales,                 x.sums};
      float* out = c + row * kGroupRows + tile * kTileRows;
      tile + kInt8Tiles <= tiles
          ? int8_tiles<kRows, kInt8Tiles, kGroup, kMinima>(panels + tile, count / kGroup, zero, part, begins, out)
          : int8_tiles<kRows, 1, kGroup, kMinima>(panels + tile, count / kGroup, zero, part, begins, out);
    });
  }
}

std::atomic<bool> allowed = true;

}  // namespace

void bf16_product(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const BFloatRows& x,
                  std::int64_t first, std::int64_t rows, float* c) {
  const BlockFields& f = fields_of(W.dtype);
  const std::int64_t bytes = tile_bytes(f, W.cols), pairs = blocks_of(f, W.cols);
  const std::byte* from = W.tiles + tile * bytes;
  in_even_parts<6>(rows, [&](std::int64_t row, auto many) {
    constexpr int kRows = decltype(many)::value;
    const std::uint16_t* values = x.values + (first + row) * x.stride;
    float* out = c + row * kGroupRows;
    if (tiles == kGroupTiles) return bf16_tiles<kRows, kGroupTiles>(from, bytes, pairs, values, x.stride, out);
    for (std::int64_t t = 0; t < tiles; ++t) {
      bf16_tiles<kRows, 1>(from + t * bytes, bytes, pairs, values, x.stride, out + t * kTileRows);
    }
  });
}

// The panel that the same tile, or the same place in the next group of tiles, has next.
PanelPlace after(const PackedMatrix& W, const PanelPlace& place) {
  const std::int64_t next = place.first + kPanelInputs;
  if (next < W.cols) return {place.tile, next, std::min(kPanelInputs, W.cols - next)};
  const std::int64_t tile = place.tile + kGroupTiles;
  return {tile, 0, tile < tiles_of(W.rows) ? std::min(kPanelInputs, W.cols) : 0};
}

void int8_product(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const Int8Rows& x,
                  std::int64_t first, std::int64_t rows, float* c) {
  const QuantKind kind = quant_kind(W.dtype);
  QuantPanel panels[kGroupTiles];
  for (std::int64_t k = 0; k < W.cols; k += kPanelInputs) {
    const std::int64_t count = std::min(kPanelInputs, W.cols - k);
    for (std::int64_t t = 0; t < tiles; ++t) {
      const PanelPlace place{tile + t, k, count};
      unpack_quants(W, place, after(W, place), panels[t]);
    }
    const Int8Part part{x.values + first * x.stride + k,
                        x.scale + first * x.scales + k / kScaleInputs,
                        x.sum + first * x.sums + k / kSumInputs,
                        x.stride,
                        x.scales,
                        x.sums};
    const auto run = kind.group == kSumInputs ? int8_panels<16, false>
                     : kind.minima            ? int8_panels<32, true>
                                              : int8_panels<32, false>;
    run(panels, tiles, count, kind.zero, part, rows, k == 0, c);
  }
}

bool has_bf16_product() {
  static const bool here = __builtin_cpu_supports("avx512bf16") != 0;
  return here && allowed && avx512_is_chosen();
}

bool has_int8_product() {
  static const bool here = __builtin_cpu_supports("avx512vnni") != 0;
  return here && allowed && avx512_is_chosen();
}

void allow_dot_products(bool yes) {
  allowed = yes;
}

}  // namespace mamba3::cpu

HWY_POP_ATTRIBUTES

#else

namespace mamba3::cpu {

bool has_bf16_product() {
  return false;
}
bool has_int8_product() {
  return false;
}
void allow_dot_products(bool) {}
void bf16_product(const PackedMatrix&, std::int64_t, std::int64_t, const BFloatRows&, std::int64_t,
                  std::int64_t, float*) {}
void int8_product(const PackedMatrix&, std::int64_t, std::int64_t, const Int8Rows&, std::int64_t,
                  std::int64_t, float*) {}

}  // namespace mamba3::cpu

#endif
