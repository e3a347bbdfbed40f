// What a launch of the thin products is told.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/linear/cuda/thin_cuda.h"

namespace mamba3::cuda::thin {

/// A block's threads. One block's copies on the way keep a multiprocessor's share of the memory busy, and
/// leave room for a block of the next kernel, which fetches its first weights early.
inline constexpr int kWarps = 8;
inline constexpr int kThreads = 32 * kWarps;

/// Outputs of a block at a time: the rows of A in mma.m16n8k16.
inline constexpr int kTileRows = 16;
/// Rows of W that a block takes at a time in the products by multiply-adds.
inline constexpr int kPairRows = 2;

/// Rows of one matrix or, for SwiGLU, of two: the first half of a tile lies in planes[0], the second in
/// planes[1]. `step` is how many rows of the matrices a tile advances, `second` where its second half begins:
/// a whole and half a tile for one matrix, half a tile and nothing for two.
struct Segment {
  const std::byte* planes[2][4];
  void* y;
  std::int64_t stride;
  int rows, step, second;
  int first_tile;
  bool swiglu;
  ThinStore store;
};

struct Arguments {
  ThinInput input;
  int rows, cols;
  float inverse_cols;
  int stages;                ///< steps of weights that a warp has on the way (thin_stage.cuh)
  int tiles, segments;       ///< by matrix units
  int pairs, pair_segments;  ///< by multiply-adds, behind the others
  Segment segment[kMostThinProducts];
};

__device__ inline const Segment& segment_of(const Segment* segments, int count, int tile) {
  int i = count - 1;
  while (tile < segments[i].first_tile) --i;
  return segments[i];
}

__device__ inline float silu(float z) {
  return __fdividef(z, 1 + __expf(-z));
}

/// The old value of y where it is added to.
__device__ inline float old_output(const Segment& s, int n, int m) {
  return s.store == ThinStore::add_f32 ? static_cast<const float*>(s.y)[n * s.stride + m] : 0.0f;
}

__device__ inline void put_output(const Segment& s, int n, int m, float value) {
  const std::int64_t at = n * s.stride + m;
  if (s.store == ThinStore::bf16) {
    static_cast<__nv_bfloat16*>(s.y)[at] = __float2bfloat16(value);
  } else {
    static_cast<float*>(s.y)[at] = value;
  }
}

}  // namespace mamba3::cuda::thin
