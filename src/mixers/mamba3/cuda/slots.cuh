// One head of one session inside a block of threads: its slots (the checkpoint's last token and those of the
// tail) and a thread's share of the matrix h. Shared by the step and by the folding of a tail.
#pragma once

#include <cuda_pipeline_primitives.h>

#include <cstdint>
#include <numbers>

#include "mixers/mamba3/cuda/step_shape.cuh"

namespace mamba3::cuda::step {

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
__device__ inline float4 operator+(const float4& a, const float4& b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}
__device__ inline float sum(const float4& v) {
  return (v.x + v.y) + (v.z + v.w);
}
__device__ inline float4 load4(const float* v) {
  return *reinterpret_cast<const float4*>(v);
}
__device__ inline void store4(float* to, const float4& v) {
  *reinterpret_cast<float4*>(to) = v;
}

/// visit(i) for first, first + step, ... below `count`; first < step. Where count and step are known, so are
/// the rounds.
template <typename Visit>
__device__ void each_of(int first, int step, int count, const Visit& visit) {
#pragma unroll 1
  for (int begin = 0; begin < count; begin += step) {
    if (begin + first < count) visit(begin + first);
  }
}

/// How the second-level cache keeps what is read of a state. It passes by once a step, and is the first to
/// leave: the cache is for weights. Where the tail is folded it is written soon, and better still there.
__device__ inline std::uint64_t state_policy(bool folds) {
  std::uint64_t first, normal;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(first));
  asm("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(normal));
  return folds ? normal : first;
}

/// Begins to copy 16 bytes of the state to shared memory.
__device__ inline void stage_state(float* to, const float* from, std::uint64_t policy) {
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2;" ::"r"(
                   static_cast<unsigned>(__cvta_generic_to_shared(to))),
               "l"(__cvta_generic_to_global(from)), "l"(policy)
               : "memory");
}

/// Asks for `count` floats in the second-level cache.
__device__ inline void prefetch(const float* v, int count, int threads) {
  constexpr int kLine = 128 / sizeof(float);
  each_of(kLine * static_cast<int>(threadIdx.x), kLine * threads, count,
          [&](int i) { asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(v + i))); });
}

/// Begins to copy rows [rows, count] into shared memory, [rows, width] with zeros at each row's end.
__device__ inline void stage_rows(float* to, const float* from, int rows, int count, int width, int threads) {
  each_of(static_cast<int>(threadIdx.x), threads, rows * width, [&](int i) {
    const int row = i / width, column = i - row * width;
    if (column < count) {
      __pipeline_memcpy_async(to + i, from + row * count + column, sizeof(float));
    } else {
      to[i] = 0;
    }
  });
}

/// A thread's share of h [N, P']: kTileRows rows of four columns, so that all of h is on its way from memory
/// at once. In shared memory for the published heads: loads into registers would share one of the six
/// scoreboards with whatever is loaded meanwhile, which then waits for h. Else in registers.
template <typename Head>
struct Tile {
  const Head& s;
  float* const staged;      // [N, P'] in shared memory
  const int group, column;  // its group of rows and its first column
  float4 held[Head::kPublished ? 1 : kTileRows];

  __device__ Tile(const Head& head, float* shared)
      : s(head),
        staged(shared),
        group(static_cast<int>(threadIdx.x / static_cast<unsigned>(s.wide_p / kTileColumns))),
        column((static_cast<int>(threadIdx.x) - group * (s.wide_p / kTileColumns)) * kTileColumns) {}

  /// Row i of the share. Groups take four rows at a time in turn, so that a block's accesses sweep over
  /// memory.
  __device__ int row(int i) const { return (i / 4 * row_groups(s) + group) * 4 + i % 4; }
  /// Threads beyond the last row have no share.
  __device__ bool empty() const { return !Head::kPublished && group >= row_groups(s); }
  __device__ bool has(int i) const { return Head::kPublished || row(i) < s.N; }
  __device__ int at(int i) const { return row(i) * s.wide_p + column; }

  /// Begins to bring the share from memory, to where it belongs.
  __device__ void begin_load(const float* h, bool folds) {
    const std::uint64_t policy = Head::kPublished ? state_policy(folds) : 0;
#pragma unroll
    for (int i = 0; i < kTileRows; ++i) {
      if constexpr (Head::kPublished) {
        stage_state(staged + at(i), h + at(i), policy);
      } else {
        held[i] = has(i) ? __ldcs(reinterpret_cast<const float4*>(h + at(i))) : float4{};
      }
    }
  }
  __device__ float4 operator[](int i) const {
    return Head::kPublished ? load4(staged + at(i)) : held[i];
  }

  /// visit(i, value) for each row of the share and its value of a vector over N, such as q or k.
  template <typename Visit>
  __device__ void each_row(const float* vector, const Visit& visit) const {
#pragma unroll
    for (int i = 0; i < kTileRows; i += 4) {
      const float4 four = load4(vector + row(i));
      visit(i, four.x), visit(i + 1, four.y), visit(i + 2, four.z), visit(i + 3, four.w);
    }
  }

  using Rows = float4[kTileRows];

  /// The state's first part, after the tail: decay h.
  __device__ void decayed(float decay, Rows& rows) const {
#pragma unroll
    for (int i = 0; i < kTileRows; ++i) rows[i] = decay * (*this)[i];
  }
  /// The rest: weight k v of the tokens [begin, end), each k [R, N'] and x [P']; mimo_x [R, P'].
  __device__ void add_tokens(const float* tokens, int begin, int end, const float* weight,
                             const float* mimo_x, Rows& rows) const {
#pragma unroll 1
    for (int i = begin; i < end; ++i) {
      const float* k = tokens + i * s.token;
      const float4 x = weight[i] * load4(k + s.R * s.wide_n + column);
#pragma unroll 2
      for (int r = 0; r < s.R; ++r) {
        const float4 v = s.is_mimo ? x * load4(mimo_x + r * s.wide_p + column) : x;
        each_row(k + r * s.wide_n, [&](int n, float k_n) { add_scaled(rows[n], k_n, v); });
      }
    }
  }
  __device__ void store(const Rows& rows, float* h) const {
#pragma unroll
    for (int i = 0; i < kTileRows; ++i) {
      if (has(i)) __stcs(reinterpret_cast<float4*>(h + at(i)), rows[i]);
    }
  }
};

/// What a token does to the state: its decay, the weight of its own k v, the weight that it gives to the
/// token before it, and its dt.
struct Dynamics {
  float alpha, own, before, dt;
};

/// What the tail's tokens do, in one warp, slot by lane: token i is that of slot i + 1. Lanes beyond the tail
/// hold the same as its end.
struct SlotDynamics {
  float alpha, before, own;

  __device__ SlotDynamics(const HeadState& state, int tail) {
    const int slot = min(static_cast<int>(threadIdx.x % kLanes), tail);
    alpha = __ldcs(state.alpha() + slot);
    before = __ldcs(state.before() + slot);
    own = __ldcs(state.own() + slot - 1);
  }

  /// What slots 0 to tail give to the state after them and a `last` token: the decay on the way times lambda
  /// dt of the slot's own token (in slot 0 that lies in the checkpoint already) and (1 - lambda) dt of the
  /// one behind it. weight [tail + 1]; returns the decay of the checkpoint, in lane 0. The last token's own
  /// weight is last.own.
  __device__ float weigh(int tail, const Dynamics& last, float* weight) const {
    const int slot = static_cast<int>(threadIdx.x % kLanes);
    float reach = slot < tail ? alpha : slot == tail ? last.alpha : 1.0f;
#pragma unroll
    for (int step = 1; step < kLanes; step *= 2) {
      const float further = __shfl_down_sync(kAllLanes, reach, step);
      if (slot + step < kLanes) reach *= further;
    }
    if (slot <= tail) weight[slot] = reach * ((slot > 0 ? own : 0) + (slot == tail ? last.before : before));
    return reach;
  }
};

/// theta + rate dt, modulo 2 pi.
__device__ inline float turned(float theta, float rate, float dt) {
  constexpr float kTwoPi = 2 * std::numbers::pi_v<float>;
  constexpr float kInverse = 0.5f * std::numbers::inv_pi_v<float>;
  float t = fmaf(rate, dt, theta);
  t = fmaf(-floorf(t * kInverse), kTwoPi, t);
  t = fmaxf(t, 0.0f);  // rounding may leave -0 or a hair below
  return t >= kTwoPi ? t - kTwoPi : t;
}

}  // namespace mamba3::cuda::step
