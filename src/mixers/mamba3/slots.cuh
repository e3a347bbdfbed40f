// One head of one session inside a block of threads: its state, its slots (the checkpoint's last token and those
// of the tail) and a thread's share of the matrix h. Shared by the step and by the folding of a tail.
#pragma once

#include <cuda_pipeline_primitives.h>

#include <cstdint>
#include <numbers>

#include "mixers/mamba3/layout.h"

namespace mamba3::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kLanes = 32;

/// One head's part of a state, as Mamba3Head has it.
struct HeadState {
  float *theta, *start, *h, *tokens, *alpha, *own, *before, *dt;

  __device__ HeadState(const Mamba3Layout& l, float* values, std::int64_t head)
      : theta(values + l.theta + head * l.angles),
        start(values + l.start + head * l.angles),
        h(values + l.h + head * l.d_state * l.wide_p),
        tokens(values + l.tokens + head * (1 + l.chunk) * l.token),
        alpha(values + l.alpha + head * l.wide_c),
        own(values + l.own + head * l.wide_c),
        before(values + l.before + head * l.wide_c),
        dt(values + l.dt + head * l.wide_c) {}
};

/// What a token does to the state: its decay, the weight of its own k v, the weight that it gives to the token
/// before it, and its dt.
struct Dynamics {
  float alpha, own, before, dt;
};

__device__ inline void add_scaled(float4& sum, float scale, const float4& v) {
  sum.x = fmaf(scale, v.x, sum.x);
  sum.y = fmaf(scale, v.y, sum.y);
  sum.z = fmaf(scale, v.z, sum.z);
  sum.w = fmaf(scale, v.w, sum.w);
}
__device__ inline float4 operator*(float scale, const float4& v) {
  return {scale * v.x, scale * v.y, scale * v.z, scale * v.w};
}
__device__ inline float4 operator*(const float4& a, const float4& b) {
  return {a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w};
}
__device__ inline float4 load4(const float* v) {
  return *reinterpret_cast<const float4*>(v);
}
__device__ inline void store4(float* to, const float4& v) {
  *reinterpret_cast<float4*>(to) = v;
}

/// A thread's share of h [N, P']: kRows rows of four columns, in registers. With 16 rows a block of 128 threads
/// holds a head of N 128 and P 64, all of it on its way from memory at once. The state passes by once a step:
/// it is loaded and stored past the first-level cache and first to leave the second.
struct Tile {
  static constexpr int kRows = 16;
  float4 rows[kRows];
  int row, column;  // the first

  __device__ explicit Tile(const Mamba3Layout& l) {
    const int columns = static_cast<int>(l.wide_p) / 4;
    row = static_cast<int>(threadIdx.x) / columns * kRows;
    column = static_cast<int>(threadIdx.x) % columns * 4;
  }
  /// Threads beyond the last row have no share.
  __device__ bool empty(const Mamba3Layout& l) const { return row >= l.d_state; }
  __device__ int group() const { return row / kRows; }

  template <typename Visit>
  __device__ void each_row(const Mamba3Layout& l, float* h, const Visit& visit) {
    float* at = h + row * static_cast<int>(l.wide_p) + column;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (row + i < l.d_state) visit(rows[i], reinterpret_cast<float4*>(at + i * static_cast<int>(l.wide_p)));
    }
  }
  __device__ void load(const Mamba3Layout& l, float* h) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) rows[i] = {0, 0, 0, 0};
    each_row(l, h, [](float4& mine, const float4* theirs) { mine = __ldcs(theirs); });
  }
  __device__ void store(const Mamba3Layout& l, float* h) {
    each_row(l, h, [](float4& mine, float4* theirs) { __stcs(theirs, mine); });
  }

  /// visit(i, values) for rows i to i + 3 of the share and theirs of a vector over N, such as q or k.
  template <typename Visit>
  __device__ void each_four(const float* vector, const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < kRows; i += 4) {
      const float4 four = load4(vector + row + i);
      visit(i, four.x), visit(i + 1, four.y), visit(i + 2, four.z), visit(i + 3, four.w);
    }
  }

  /// The state after the last slot: h = decay h + sum over slots and ranks of weight k v. token_at(slot) gives k
  /// [R, N'] and x [P'] of a slot; mimo_x [R, P'] or null.
  template <typename TokenAt>
  __device__ void fold(const Mamba3Layout& l, float decay, int slots, const float* weight, const float* mimo_x,
                       const TokenAt& token_at) {
    const int rank = static_cast<int>(l.rank), wide_n = static_cast<int>(l.wide_n);
#pragma unroll
    for (int i = 0; i < kRows; ++i) rows[i] = decay * rows[i];
    for (int slot = 0; slot < slots; ++slot) {
      const float* k = token_at(slot);
      const float4 x = weight[slot] * load4(k + rank * wide_n + column);
      for (int r = 0; r < rank; ++r) {
        const float4 v = mimo_x == nullptr ? x : x * load4(mimo_x + r * static_cast<int>(l.wide_p) + column);
        each_four(k + r * wide_n, [&](int i, float k_n) { add_scaled(rows[i], k_n, v); });
      }
    }
  }
};

/// Threads of a block whose tiles cover a head, in whole warps.
inline int tile_threads(const Mamba3Layout& l) {
  const auto groups = (l.d_state + Tile::kRows - 1) / Tile::kRows;
  return static_cast<int>((l.wide_p / 4 * groups + kLanes - 1) / kLanes * kLanes);
}

/// What slots 0 to tail give to the state after them and one more token, by one warp, slot by lane: the decay on
/// the way times lambda dt of the slot's own token (in slot 0 that lies in the checkpoint already) and
/// (1 - lambda) dt of the one behind it. `last` is what the last token does. weight [tail + 2]; returns the decay
/// of the checkpoint, in lane 0.
__device__ inline float weigh_slots(const HeadState& head, int tail, const Dynamics& last, float* weight) {
  const int slot = static_cast<int>(threadIdx.x) % kLanes;
  float reach = slot < tail ? head.alpha[slot] : slot == tail ? last.alpha : 1.0f;
  const float before = slot < tail ? head.before[slot] : last.before;
  const float own = slot > 0 && slot <= tail ? head.own[slot - 1] : 0.0f;
#pragma unroll
  for (int step = 1; step < kLanes; step *= 2) {
    const float further = __shfl_down_sync(kAllLanes, reach, step);
    if (slot + step < kLanes) reach *= further;
  }
  if (slot <= tail) weight[slot] = reach * (own + before);
  if (slot == 0) weight[tail + 1] = last.own;
  return reach;
}

/// Begins to copy `count` floats, a multiple of 4 on boundaries of 16 bytes, into shared memory.
__device__ inline void stage(float* to, const float* from, int count) {
  for (int i = 4 * static_cast<int>(threadIdx.x); i < count; i += 4 * static_cast<int>(blockDim.x)) {
    __pipeline_memcpy_async(to + i, from + i, sizeof(float4));
  }
}

/// The same for [rows, count] to [rows, width], the rest of each row zeros; no boundaries.
__device__ inline void stage_rows(float* to, const float* from, int rows, int count, int width) {
  for (int r = 0; r < rows; ++r, to += width, from += count) {
    if (count % 4 == 0) {
      stage(to, from, count);
      for (int i = count + static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x)) to[i] = 0;
      continue;
    }
    for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x)) {
      if (i < count) __pipeline_memcpy_async(to + i, from + i, sizeof(float));
      else to[i] = 0;
    }
  }
}

/// theta + rate dt, modulo 2 pi.
__device__ inline float turned(float theta, float rate, float dt) {
  constexpr float kTwoPi = 2 * std::numbers::pi_v<float>;
  constexpr float kInverse = 0.5f * std::numbers::inv_pi_v<float>;
  float t = fmaf(rate, dt, theta);
  t = fmaf(-floorf(t * kInverse), kTwoPi, t);
  t = fmaxf(t, 0.0f);  // rounding may leave -0 or a hair below
  return t >= kTwoPi ? t - kTwoPi : t;
}

}  // namespace mamba3::cuda
