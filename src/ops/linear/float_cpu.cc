// Float32 activations with weights of any type, on every instruction set.
#include <algorithm>

#include "ops/linear/kernels_cpu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/linear/float_cpu.cc"
#include "hwy/foreach_target.h"
// after foreach_target
#include "ops/linear/planes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace mamba3 {
namespace HWY_NAMESPACE {

// Decoded inputs at a time: four tiles of them are 16 KB, half of a first-level cache.
constexpr std::int64_t kInputs = 64;

// Value vectors at once, and rows of activations: sums and one input of each fill 16 or 32 registers.
constexpr int kTileVectors16 = cpu::kTileRows / static_cast<int>(hn::MaxLanes(D()));
constexpr bool kManyRegisters = HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64;
constexpr int kTilesAtOnce = HWY_TARGET <= HWY_AVX3 ? cpu::kTilesAtOnce : 1;
constexpr int kMostRows = HWY_TARGET <= HWY_AVX3 ? 8 : (kManyRegisters ? 24 : 12) / kTileVectors16;

// Sixteen rows' values of input k, as float32.
template <DType kType>
struct Floats {
  static HWY_INLINE V value(const Planes& p, std::int64_t k, std::int64_t lane) {
    if constexpr (kType == DType::f16) return p.halves(0, k, lane);
    const VU pair = p.words(0, k / 2, lane);
    return hn::BitCast(D(), k % 2 == 0 ? hn::ShiftLeft<16>(pair) : mask(pair, 0xffff0000u));
  }
};

template <DType kType>
HWY_INLINE void decode_block(const Planes& p, std::int64_t first, float* out) {
  using Type = Quants<kType>;
  const D d;
  const std::int64_t L = lanes(), block = first / 32;
  for (std::int64_t lane = 0; lane < cpu::kTileRows; lane += L) {
    for (std::int64_t q = 0; q < 8; ++q) {
      const V scale = Type::scale(p, block, q * 4 / Type::kGroup, lane);
      V offset = hn::Mul(scale, hn::Set(d, -static_cast<float>(1 << Type::kZeroBits)));
      if constexpr (Type::kMinima) offset = Type::offset(p, block, lane);
      VU word = Type::quad(p, block, q, lane);
      for (std::int64_t i = 0; i < 4; ++i) {
        const V value = hn::MulAdd(scale, to_floats(mask(word, 0xff)), offset);
        hn::Store(value, d, out + (q * 4 + i) * cpu::kTileRows + lane);
        word = hn::ShiftRight<8>(word);
      }
    }
  }
}

// Inputs [first, first + count) of a tile: out [count, 16].
void decode_tile(const PackedMatrix& W, std::int64_t tile, std::int64_t first, std::int64_t count,
                 float* out) {
  const D d;
  const std::int64_t L = lanes();
  const auto plain = [&](auto type) {
    const auto planes = Planes::of<decltype(type)::value>(W, tile);
    for (std::int64_t k = 0; k < count; ++k) {
      for (std::int64_t lane = 0; lane < cpu::kTileRows; lane += L) {
        hn::Store(Floats<decltype(type)::value>::value(planes, first + k, lane), d,
                  out + k * cpu::kTileRows + lane);
      }
    }
  };
  if (W.dtype == DType::f16) return plain(std::integral_constant<DType, DType::f16>());
  if (W.dtype == DType::bf16) return plain(std::integral_constant<DType, DType::bf16>());
  with_quants(W.dtype, [&](auto type) {
    const auto planes = Planes::of<decltype(type)::value>(W, tile);
    for (std::int64_t k = 0; k < count; k += 32) {
      decode_block<decltype(type)::value>(planes, first + k, out + k * cpu::kTileRows);
    }
  });
}

// c [kRows, kTiles * 16] += (or =) x [kRows, count] times panel [kTiles][count][16].
template <int kRows, int kTiles>
HWY_INLINE void multiply(const float* panel, std::int64_t tile_stride, std::int64_t count, const float* x,
                         std::int64_t x_stride, bool begins, float* c, std::int64_t stride) {
  const D d;
  const std::int64_t L = lanes();
  constexpr int kVectors = kTiles * kTileVectors16;
  V sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = begins ? hn::Zero(d) : hn::LoadU(d, c + i * stride + v * L);
    }
  }
  for (std::int64_t k = 0; k < count; ++k) {
    V weight[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const float* tile = panel + v / kTileVectors16 * tile_stride;
      weight[v] = hn::LoadU(d, tile + k * cpu::kTileRows + v % kTileVectors16 * L);
    }
    for (int i = 0; i < kRows; ++i) {
      const V value = hn::Set(d, x[i * x_stride + k]);
      for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::MulAdd(value, weight[v], sum[i][v]);
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[i][v], d, c + i * stride + v * L);
  }
}

void multiply_rows(const float* panel, std::int64_t tile_stride, std::int64_t tiles, std::int64_t count,
                   const float* x, std::int64_t x_stride, std::int64_t rows, bool begins, float* c,
                   std::int64_t stride) {
  cpu::in_even_parts<kMostRows>(rows, [&](std::int64_t row, auto many) {
    std::int64_t tile = 0;
    const auto some = [&](auto at_once) {
      multiply<decltype(many)::value, decltype(at_once)::value>(
          panel + tile * tile_stride, tile_stride, count, x + row * x_stride, x_stride, begins,
          c + row * stride + tile * cpu::kTileRows, stride);
      tile += at_once;
    };
    while (tile + kTilesAtOnce <= tiles) some(std::integral_constant<int, kTilesAtOnce>());
    while (tile < tiles) some(std::integral_constant<int, 1>());
  });
}

void float_tiles(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const float* x,
                 std::int64_t rows, float* c, std::int64_t stride) {
  if (W.dtype == DType::f32) {
    const auto* values = reinterpret_cast<const float*>(W.tiles) + tile * W.cols * cpu::kTileRows;
    return multiply_rows(values, W.cols * cpu::kTileRows, tiles, W.cols, x, W.cols, rows, true, c, stride);
  }
  alignas(64) float panel[cpu::kGroupTiles * kInputs * cpu::kTileRows];
  for (std::int64_t k = 0; k < W.cols; k += kInputs) {
    const std::int64_t count = std::min(kInputs, W.cols - k);
    for (std::int64_t i = 0; i < tiles; ++i) {
      decode_tile(W, tile + i, k, count, panel + i * kInputs * cpu::kTileRows);
    }
    multiply_rows(panel, kInputs * cpu::kTileRows, tiles, count, x + k, W.cols, rows, k == 0, c, stride);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace mamba3
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace mamba3 {
HWY_EXPORT(float_tiles);

void cpu::float_product(const PackedMatrix& W, std::int64_t tile, std::int64_t tiles, const float* x,
                        std::int64_t rows, float* c, std::int64_t stride) {
  HWY_DYNAMIC_DISPATCH(float_tiles)(W, tile, tiles, x, rows, c, stride);
}

}  // namespace mamba3
#endif
