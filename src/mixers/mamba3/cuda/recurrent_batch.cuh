// What the scan token by token makes and gates side by side: a batch of tokens of one head in shared memory.
// Every function is called by all threads of a block; barriers stand between them.
#pragma once

#include <cstdint>
#include <numbers>

#include "core/cuda/reduce_cuda.cuh"
#include "core/cuda/values_cuda.cuh"
#include "mixers/mamba3/cuda/recurrent_cuda.h"

namespace mamba3::cuda::recurrent {

struct Shape {
  int P, N, R, S, G, heads;
  int wide_p, wide_n;  // as shared memory has them
  int batch;           // tokens
  bool is_mimo;
};

// A batch in shared memory. Slot 0 of k and v is the token before it.
struct Batch {
  float *k, *q;          // [1 + batch, R, wide_n], [batch, R, wide_n]
  float *v, *y;          // [1 + batch, R, wide_p], [batch, R, wide_p]
  float4* weights;       // [batch]  alpha, beta, gamma, dt
  float* z;              // [batch, P]
  float *cosine, *sine;  // [batch, S]

  __host__ __device__ static int per_token(const Shape& s) {
    return 2 * s.R * (s.wide_n + s.wide_p) + s.P + 4 + 2 * s.S;
  }
  __host__ __device__ static int fixed(const Shape& s) { return s.R * (s.wide_n + s.wide_p); }
  __host__ __device__ static int size(const Shape& s) { return fixed(s) + s.batch * per_token(s); }

  __device__ Batch(const Shape& s, float* block) {
    const auto next = [&block](int n) {
      float* taken = block;
      block += n;
      return taken;
    };
    const int n = s.R * s.wide_n, p = s.R * s.wide_p, C = s.batch;
    k = next((1 + C) * n), q = next(C * n), v = next((1 + C) * p), y = next(C * p);
    weights = reinterpret_cast<float4*>(next(4 * C));
    z = next(C * s.P), cosine = next(C * s.S), sine = next(C * s.S);
  }
};

__device__ inline int lane() {
  return threadIdx.x % kWarp;
}
__device__ inline int warp() {
  return threadIdx.x / kWarp;
}
__device__ inline int warps() {
  return blockDim.x / kWarp;
}

// One head's part of a state and of the parameters.
struct Head {
  float *theta, *start, *h, *k, *x;
  const float *B_bias, *C_bias, *mimo_x, *mimo_z, *mimo_o, *norm;
  float D;

  __device__ Head(const Mamba3Layout& l, float* values, const Mamba3Parameters& w, std::int64_t head)
      : theta(values + l.theta + head * l.angles),
        start(values + l.start + head * l.angles),
        h(values + l.h + head * l.d_state * l.wide_p),
        k(values + l.tokens + head * (1 + l.chunk) * l.token),
        x(k + l.rank * l.wide_n),
        D(w.D[head]) {
    const std::int64_t RN = l.rank * l.d_state, RP = l.rank * l.headdim;
    const auto at = [](const float* all, std::int64_t offset) {
      return all == nullptr ? nullptr : all + offset;
    };
    B_bias = w.B_bias + head * RN, C_bias = w.C_bias + head * RN;
    mimo_x = at(w.mimo_x, head * RP), mimo_z = at(w.mimo_z, head * RP), mimo_o = at(w.mimo_o, head * RP);
    norm = at(w.norm, head * l.headdim);
  }
};

__device__ inline float sigmoid(float v) {
  return 1 / (1 + expf(-v));
}

// theta + rate dt, modulo 2 pi: in [0, 2 pi).
__device__ inline float turned(float theta, float rate, float dt) {
  constexpr float kTwoPi = 2 * std::numbers::pi_v<float>, kInverse = 0.5f * std::numbers::inv_pi_v<float>;
  float t = fmaf(rate, dt, theta);
  t = fmaf(-floorf(t * kInverse), kTwoPi, t);
  t = fmaxf(t, 0.0f);  // rounding may leave a hair below
  return t >= kTwoPi ? t - kTwoPi : t;
}
// load(i), then use(i, loaded), for i = first, first + step, ... below `count`: four loads are under way
// before the first is used.
template <typename Load, typename Use>
__device__ void in_fours(int first, int count, int step, const Load& load, const Use& use) {
  constexpr int kFour = 4;
  for (int i = first; i < count; i += kFour * step) {
    decltype(load(i)) loaded[kFour];
#pragma unroll
    for (int j = 0; j < kFour; ++j) {
      if (i + j * step < count) loaded[j] = load(i + j * step);
    }
#pragma unroll
    for (int j = 0; j < kFour; ++j) {
      if (i + j * step < count) use(i + j * step, loaded[j]);
    }
  }
}

// x[p] of one token, for every rank.
__device__ inline void store_value(const Shape& s, const Head& head, float x, int p, float* v) {
#pragma unroll 1
  for (int r = 0; r < s.R; ++r) {
    v[r * s.wide_p + p] = head.mimo_x == nullptr ? x : x * __ldg(head.mimo_x + r * s.P + p);
  }
}

// The token before the first one.
__device__ inline void load_start(const Shape& s, const Mamba3Layout& l, const Head& head, const Batch& m) {
#pragma unroll 1
  for (int r = 0; r < s.R; ++r) {
    for (int n = threadIdx.x; n < s.N; n += blockDim.x) m.k[r * s.wide_n + n] = head.k[r * l.wide_n + n];
  }
  for (int p = threadIdx.x; p < s.P; p += blockDim.x) store_value(s, head, head.x[p], p, m.v);
}

// The last token of a batch of `count` becomes the one before the next.
__device__ inline void keep_last(const Shape& s, int count, const Batch& m) {
  const int k = s.R * s.wide_n, v = s.R * s.wide_p;
#pragma unroll 1
  for (int i = threadIdx.x; i < k; i += blockDim.x) m.k[i] = m.k[count * k + i];
#pragma unroll 1
  for (int i = threadIdx.x; i < v; i += blockDim.x) m.v[i] = m.v[count * v + i];
}

// Weights of `count` tokens from row `first` on; rates in place of their sines; values and gates. Steps 2 and
// 6.
template <typename Row>
__device__ void load_tokens(const Shape& s, const Head& head, const RecurrentRows<Row>& rows,
                            std::int64_t first, int count, const Batch& m) {
  if (warp() == warps() - 1) {
    if (lane() < count) {
      const std::int64_t at = (first + lane()) * s.heads + blockIdx.x;
      const float dt = rows.dt[at], lambda = sigmoid(rows.trap[at]), alpha = expf(rows.adt[at]);
      m.weights[lane()] = {alpha, (1 - lambda) * dt * alpha, lambda * dt, dt};
    }
  } else {
    const float* rate = rows.rate + first * s.S;
    in_fours(
        threadIdx.x, count * s.S, blockDim.x - kWarp, [&](int i) { return __ldg(rate + i); },
        [&](int i, float v) { m.sine[i] = v; });
  }
  const int parts = (s.P + kWarp - 1) / kWarp;
  const std::int64_t from = first * rows.zx_stride + blockIdx.x * s.P;
  in_fours(
      warp(), count * parts, warps(),
      [&](int i) {
        const int p = i % parts * kWarp + lane();
        const std::int64_t at = from + i / parts * rows.zx_stride + p;
        return p < s.P ? float2{as_float(__ldg(rows.x + at)), as_float(__ldg(rows.z + at))} : float2{};
      },
      [&](int i, float2 xz) {
        const int token = i / parts, p = i % parts * kWarp + lane();
        if (p >= s.P) return;
        store_value(s, head, xz.x, p, m.v + (1 + token) * s.R * s.wide_p);
        m.z[token * s.P + p] = xz.y;
      });
}

// Rates become angles, from `theta` on, which goes along: a thread's angle. Step 4.
__device__ inline void turn(const Shape& s, int count, const Batch& m, float& theta) {
  if (threadIdx.x >= s.S) return;
#pragma unroll 4
  for (int i = 0; i < count; ++i) {
    float& at = m.sine[i * s.S + threadIdx.x];
    at = theta = turned(theta, at, m.weights[i].w);
  }
}

__device__ inline void take_sines(const Shape& s, int count, const Batch& m) {
#pragma unroll 1
  for (int i = threadIdx.x; i < count * s.S; i += blockDim.x) sincosf(m.sine[i], &m.sine[i], &m.cosine[i]);
}

// k and q, biased and rotated: a warp takes 32 of the pairs of a row, one rank of a token, at a time. Steps 3
// and 5.
template <int kQuads, int kRank, typename Row>
__device__ void rotate_tokens(const Shape& s, const Head& head, const RecurrentRows<Row>& rows,
                              std::int64_t first, int count, const Batch& m) {
  const int R = kRank == 0 ? s.R : kRank, group = blockIdx.x / (s.heads / s.G), half = s.N / 2;
  struct Place {
    int token, rank, pair, a, b;
  };
  const auto place = [&](int i) {
    const int row = i / (kQuads), pair = i % (kQuads)*kWarp + lane();
    return s.is_mimo ? Place{row / R, row % R, pair, pair, pair + half}
                     : Place{row / R, row % R, pair, 2 * pair, 2 * pair + 1};
  };
  in_fours(
      warp(), count * R * kQuads, warps(),
      [&](int i) {
        const Place on = place(i);
        if (on.pair >= half) return float4{};
        const std::int64_t at = (first + on.token) * rows.bc_stride + (on.rank * s.G + group) * s.N;
        const Row *B = rows.B + at, *C = rows.C + at;
        return float4{as_float(__ldg(B + on.a)), as_float(__ldg(B + on.b)), as_float(__ldg(C + on.a)),
                      as_float(__ldg(C + on.b))};
      },
      [&](int i, float4 v) {
        const Place on = place(i);
        if (on.pair >= half) return;
        const float *B_bias = head.B_bias + on.rank * s.N, *C_bias = head.C_bias + on.rank * s.N;
        v.x += __ldg(B_bias + on.a), v.y += __ldg(B_bias + on.b);
        v.z += __ldg(C_bias + on.a), v.w += __ldg(C_bias + on.b);
        const bool turns = on.pair < s.S;
        const int angle = on.token * s.S + on.pair;
        const float sine = turns ? m.sine[angle] : 0, cosine = turns ? m.cosine[angle] : 1;
        const int row = on.token * R + on.rank;
        float *k = m.k + (row + R) * s.wide_n, *q = m.q + row * s.wide_n;
        k[on.a] = v.x * cosine - v.y * sine, k[on.b] = v.x * sine + v.y * cosine;
        q[on.a] = v.z * cosine - v.w * sine, q[on.b] = v.z * sine + v.w * cosine;
      });
}
// Step 9: a warp a token.
template <typename Row>
__device__ void gate_tokens(const Shape& s, const Head& head, const RecurrentRows<Row>& rows,
                            std::int64_t first, int count, const Batch& m) {
  for (int i = warp(); i < count; i += warps()) {
    float* y = m.y + i * s.R * s.wide_p;
    const std::int64_t row = first + i;
    for (int r = 0; r < s.R; ++r, y += s.wide_p) {
      float squares = 0;
#pragma unroll 2
      for (int p = lane(); p < s.P; p += kWarp) {
        if (rows.y != nullptr) rows.y[((row * s.R + r) * s.heads + blockIdx.x) * s.P + p] = y[p];
        squares = fmaf(y[p], y[p], squares);
      }
      if (head.norm == nullptr) continue;
      const float mean = warp_reduce(squares, Plus()) / static_cast<float>(s.P);
      const float scale = 1.0f / sqrtf(mean + static_cast<float>(kNormEpsilon));
#pragma unroll 1
      for (int p = lane(); p < s.P; p += kWarp) y[p] *= scale * head.norm[p];
    }
    y = m.y + i * s.R * s.wide_p;
#pragma unroll 2
    for (int p = lane(); p < s.P; p += kWarp) {
      const float z = m.z[i * s.P + p];
      float sum = 0;
      if (head.mimo_z == nullptr) {
        sum = y[p] * z * sigmoid(z);
      } else {
#pragma unroll 1
        for (int r = 0; r < s.R; ++r) {
          const float gate = z * head.mimo_z[r * s.P + p];
          sum = fmaf(y[r * s.wide_p + p] * gate * sigmoid(gate), head.mimo_o[r * s.P + p], sum);
        }
      }
      rows.out[(row * s.heads + blockIdx.x) * s.P + p] = from_float<Row>(sum);
    }
  }
}

// The state after the last token, which keep_last has put into slot 0.
template <typename Row>
__device__ void store_end(const Shape& s, const Mamba3Layout& l, const Head& head, const Row* last_x,
                          const Batch& m, float theta) {
  if (threadIdx.x < s.S) head.theta[threadIdx.x] = head.start[threadIdx.x] = theta;
  for (int r = 0; r < s.R; ++r) {
#pragma unroll 1
    for (int n = threadIdx.x; n < s.N; n += blockDim.x) head.k[r * l.wide_n + n] = m.k[r * s.wide_n + n];
  }
#pragma unroll 1
  for (int p = threadIdx.x; p < s.P; p += blockDim.x) head.x[p] = as_float(last_x[p]);
}
}  // namespace mamba3::cuda::recurrent
