// How the scan token by token takes a head's state, in registers, through a batch.
#pragma once

#include <cstdint>

#include "mixers/mamba3/cuda/recurrent_batch.cuh"

namespace mamba3::cuda::recurrent {

// A thread holds 4 values of P times 4 kQuads of N; 16 threads share the same values of P. One vector of k or
// q from shared memory then meets four values, and N is covered by 64 kQuads: 64, 128 or 256.
constexpr int kHigh = 4, kLanes = 16, kQuad = 4;

__device__ inline float4 quad_at(const float* from) {
  return *reinterpret_cast<const float4*>(from);
}
// A thread's piece of the state.
template <int kQuads>
struct Piece {
  float h[kHigh][kQuads][kQuad];

  __device__ static int lane() { return threadIdx.x % kLanes; }
  __device__ static int p() { return threadIdx.x / kLanes * kHigh; }
  // The first n of a quad: 16 threads read 64 neighbouring values.
  __device__ static int n(int quad) { return (quad * kLanes + lane()) * kQuad; }

  // visit(h[..][quad][i], row n of the state) for all that lie inside it.
  template <typename Visit>
  __device__ void each(const Mamba3Layout& l, float* state, const Visit& visit) {
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
#pragma unroll
      for (int i = 0; i < kQuad; ++i) {
        const bool inside = n(quad) + i < l.d_state;
        auto* row = reinterpret_cast<float4*>(state + (n(quad) + i) * l.wide_p + p());
        visit(h[0][quad][i], h[1][quad][i], h[2][quad][i], h[3][quad][i], row, inside);
      }
    }
  }
  __device__ void load(const Mamba3Layout& l, float* state) {
    each(l, state, [](float& a, float& b, float& c, float& d, const float4* row, bool inside) {
      const float4 v = inside ? *row : float4{0, 0, 0, 0};
      a = v.x, b = v.y, c = v.z, d = v.w;
    });
  }
  __device__ void store(const Mamba3Layout& l, float* state) {
    each(l, state, [](float a, float b, float c, float d, float4* row, bool inside) {
      if (inside) *row = {a, b, c, d};
    });
  }

  __device__ void decay(float alpha) {
#pragma unroll
    for (int high = 0; high < kHigh; ++high) {
#pragma unroll
      for (int quad = 0; quad < kQuads; ++quad) {
#pragma unroll
        for (int i = 0; i < kQuad; ++i) h[high][quad][i] *= alpha;
      }
    }
  }

  // h += weight v k of one rank: k [wide_n], v [wide_p].
  __device__ void add(float weight, const float* v, const float* k) {
    const float4 four = quad_at(v + p());
    const float value[kHigh] = {weight * four.x, weight * four.y, weight * four.z, weight * four.w};
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      const float4 key = quad_at(k + n(quad));
#pragma unroll
      for (int high = 0; high < kHigh; ++high) {
        float* to = h[high][quad];
        to[0] = fmaf(value[high], key.x, to[0]);
        to[1] = fmaf(value[high], key.y, to[1]);
        to[2] = fmaf(value[high], key.z, to[2]);
        to[3] = fmaf(value[high], key.w, to[3]);
      }
    }
  }

  // This thread's part of sum_n h q: sum [kHigh].
  __device__ void read(const float* q, float* sum) const {
#pragma unroll
    for (int quad = 0; quad < kQuads; ++quad) {
      const float4 query = quad_at(q + n(quad));
#pragma unroll
      for (int high = 0; high < kHigh; ++high) {
        const float* from = h[high][quad];
        sum[high] = fmaf(from[0], query.x, sum[high]);
        sum[high] = fmaf(from[1], query.y, sum[high]);
        sum[high] = fmaf(from[2], query.z, sum[high]);
        sum[high] = fmaf(from[3], query.w, sum[high]);
      }
    }
  }
};

// The parts of kLanes sums in kLanes threads: halves exchange sums until each thread has one, the one of its
// lane. The additions of a sum do not depend on its place.
template <int kCount>
__device__ float exchange(const float (&part)[kCount], int lane) {
  if constexpr (kCount == 1) {
    return part[0];
  } else {
    constexpr int kHalf = kCount / 2;
    float half[kHalf];
    const bool upper = lane & kHalf;
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float kept = upper ? part[kHalf + i] : part[i], given = upper ? part[i] : part[kHalf + i];
      half[i] = kept + __shfl_xor_sync(0xffffffff, given, kHalf);
    }
    return exchange(half, lane);
  }
}

// Step 8 of up to four rows, ranks of tokens: y from the threads' parts of the sums.
constexpr int kRows = kLanes / kHigh;
template <int kQuads>
__device__ void store_rows(const Shape& s, float D, int row, int count, const float (&part)[kLanes],
                           const Batch& m) {
  const int lane = Piece<kQuads>::lane(), p = Piece<kQuads>::p() + lane % kHigh;
  const float sum = exchange(part, lane);
  row += lane / kHigh;
  count -= lane / kHigh;
  if (count > 0) m.y[row * s.wide_p + p] = fmaf(D, m.v[(row + s.R) * s.wide_p + p], sum);
}

// Steps 7 and 8 of kTokens tokens from the batch's token i on: four of a lone rank, or one.
template <int kQuads, int kRank, int kTokens>
__device__ void run_tokens(const Shape& s, float D, int i, const Batch& m, Piece<kQuads>& state) {
  static_assert(kTokens == 1 || (kRank == 1 && kTokens == kRows));
  const int R = kRank == 0 ? s.R : kRank;
  float part[kLanes];
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    const int row = (i + t) * R;
    const float4 weights = m.weights[i + t];
    state.decay(weights.x);
    for (int r = row; r < row + R; ++r) {
      state.add(weights.y, m.v + r * s.wide_p, m.k + r * s.wide_n);
      state.add(weights.z, m.v + (R + r) * s.wide_p, m.k + (R + r) * s.wide_n);
    }
    for (int first = 0; first < R; first += kRows) {
      if (t == 0) {
#pragma unroll
        for (float& sum : part) sum = 0;
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        if (first + r < R) state.read(m.q + (row + first + r) * s.wide_n, part + (t + r) * kHigh);
      }
      if (kTokens == 1) store_rows<kQuads>(s, D, row + first, R - first, part, m);
    }
  }
  if (kTokens > 1) store_rows<kQuads>(s, D, i, kTokens, part, m);
}
}  // namespace mamba3::cuda::recurrent
