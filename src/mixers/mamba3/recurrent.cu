// A block walks one head of one sequence, in batches of tokens: the rotated q and k, values and weights of a
// batch are made side by side in shared memory; then each thread takes its piece of the state, which stays in
// registers, through the batch; then the batch is gated. Every token is computed alike wherever it stands in
// a batch.
#include "mixers/mamba3/recurrent_cuda.h"

#include <algorithm>
#include <numbers>

#include "core/cuda/reduce_cuda.cuh"
#include "core/cuda/runtime.h"
#include "core/cuda/values_cuda.cuh"

namespace mamba3::cuda {
namespace {

// A thread holds 4 values of P times 4 kQuads of N; 16 threads share the same values of P. One vector of k or
// q from shared memory then meets four values, and N is covered by 64 kQuads: 64, 128 or 256.
constexpr int kHigh = 4, kLanes = 16, kQuad = 4;
constexpr int kMostThreads = 512;   // P = 128
constexpr int kLeastThreads = 128;  // one for each angle: there are at most N / 2
constexpr int kMostTokens = 16;     // of a batch: it takes six barriers and three waits for memory
constexpr int kSharedFloats = 96 * 1024 / sizeof(float);  // of the 99 KB that every device has

struct Shape {
  int P, N, R, S, G, heads;
  int wide_p, wide_n;  // as shared memory has them
  int batch;           // tokens
  bool is_mimo;
};

// A batch in shared memory. Slot 0 of k and v is the token before it.
struct Batch {
  float *k, *q;                      // [1 + batch, R, wide_n], [batch, R, wide_n]
  float *v, *y;                      // [1 + batch, R, wide_p], [batch, R, wide_p]
  float* z;                          // [batch, P]
  float *alpha, *beta, *gamma, *dt;  // [batch]
  float *cosine, *sine;              // [batch, S]

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
    z = next(C * s.P), alpha = next(C), beta = next(C), gamma = next(C), dt = next(C), cosine = next(C * s.S),
    sine = next(C * s.S);
  }
};

__device__ int lane() {
  return threadIdx.x % kWarp;
}
__device__ int warp() {
  return threadIdx.x / kWarp;
}
__device__ int warps() {
  return blockDim.x / kWarp;
}

// One head's part of a state and of the parameters.
struct Head {
  float *theta, *start, *h, *k, *x;
  const float *B_bias, *C_bias, *mimo_x, *mimo_z, *mimo_o, *norm;
  float D;

  __device__ Head(const Mamba3Layout& l, float* values, const RecurrentWeights& w, std::int64_t head)
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

__device__ float sigmoid(float v) {
  return 1 / (1 + expf(-v));
}

// theta + rate dt, modulo 2 pi: in [0, 2 pi).
__device__ float turned(float theta, float rate, float dt) {
  constexpr float kTwoPi = 2 * std::numbers::pi_v<float>, kInverse = 0.5f * std::numbers::inv_pi_v<float>;
  float t = fmaf(rate, dt, theta);
  t = fmaf(-floorf(t * kInverse), kTwoPi, t);
  t = fmaxf(t, 0.0f);  // rounding may leave a hair below
  return t >= kTwoPi ? t - kTwoPi : t;
}

__device__ float4 quad_at(const float* from) {
  return *reinterpret_cast<const float4*>(from);
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
__device__ void store_value(const Shape& s, const Head& head, float x, int p, float* v) {
#pragma unroll 1
  for (int r = 0; r < s.R; ++r) {
    v[r * s.wide_p + p] = head.mimo_x == nullptr ? x : x * __ldg(head.mimo_x + r * s.P + p);
  }
}

// The token before the first one.
__device__ void load_start(const Shape& s, const Mamba3Layout& l, const Head& head, const Batch& m) {
#pragma unroll 1
  for (int r = 0; r < s.R; ++r) {
    for (int n = threadIdx.x; n < s.N; n += blockDim.x) m.k[r * s.wide_n + n] = head.k[r * l.wide_n + n];
  }
  for (int p = threadIdx.x; p < s.P; p += blockDim.x) store_value(s, head, head.x[p], p, m.v);
}

// The last token of a batch of `count` becomes the one before the next.
__device__ void keep_last(const Shape& s, int count, const Batch& m) {
  const int k = s.R * s.wide_n, v = s.R * s.wide_p;
#pragma unroll 1
  for (int i = threadIdx.x; i < k; i += blockDim.x) m.k[i] = m.k[count * k + i];
#pragma unroll 1
  for (int i = threadIdx.x; i < v; i += blockDim.x) m.v[i] = m.v[count * v + i];
}

// Weights of `count` tokens from row `first` on, and rates in place of their sines. Step 2.
template <typename Row>
__device__ void load_dynamics(const Shape& s, const RecurrentRows<Row>& rows, std::int64_t first, int count,
                              const Batch& m) {
  const float* rate = rows.rate + first * s.S;
  in_fours(
      threadIdx.x, count * s.S, blockDim.x, [&](int i) { return __ldg(rate + i); },
      [&](int i, float v) { m.sine[i] = v; });
  const int i = blockDim.x - 1 - threadIdx.x;  // not the warp that has most rates
  if (i < count) {
    const std::int64_t at = (first + i) * s.heads + blockIdx.x;
    const float dt = rows.dt[at], lambda = sigmoid(rows.trap[at]), alpha = expf(rows.adt[at]);
    m.dt[i] = dt;
    m.alpha[i] = alpha;
    m.beta[i] = (1 - lambda) * dt * alpha;
    m.gamma[i] = lambda * dt;
  }
}

// Rates become angles, from `theta` on, which goes along: a thread's angle. Step 4.
__device__ void turn(const Shape& s, int count, const Batch& m, float& theta) {
  if (threadIdx.x >= s.S) return;
#pragma unroll 4
  for (int i = 0; i < count; ++i) {
    float& at = m.sine[i * s.S + threadIdx.x];
    at = theta = turned(theta, at, m.dt[i]);
  }
}

// Values and gates. Step 6.
template <typename Row>
__device__ void load_values(const Shape& s, const Head& head, const RecurrentRows<Row>& rows,
                            std::int64_t first, int count, const Batch& m) {
  const std::int64_t from = first * rows.zx_stride + blockIdx.x * s.P;
  for (int p = lane(); p < s.P; p += kWarp) {
    in_fours(
        warp(), count, warps(),
        [&](int i) {
          const std::int64_t at = from + i * rows.zx_stride + p;
          return float2{as_float(__ldg(rows.x + at)), as_float(__ldg(rows.z + at))};
        },
        [&](int i, float2 xz) {
          store_value(s, head, xz.x, p, m.v + (1 + i) * s.R * s.wide_p);
          m.z[i * s.P + p] = xz.y;
        });
  }
}

__device__ void take_sines(const Shape& s, int count, const Batch& m) {
#pragma unroll 1
  for (int i = threadIdx.x; i < count * s.S; i += blockDim.x) sincosf(m.sine[i], &m.sine[i], &m.cosine[i]);
}

// k and q, biased and rotated: a warp takes a row, one rank of a token, at a time. Steps 3 and 5.
template <typename Row>
__device__ void rotate_tokens(const Shape& s, const Head& head, const RecurrentRows<Row>& rows,
                              std::int64_t first, int count, const Batch& m) {
  const int group = blockIdx.x / (s.heads / s.G), half = s.N / 2;
  for (int pair = lane(); pair < half; pair += kWarp) {
    const int a = s.is_mimo ? pair : 2 * pair, b = s.is_mimo ? pair + half : 2 * pair + 1;
    in_fours(
        warp(), count * s.R, warps(),
        [&](int row) {
          const std::int64_t at = (first + row / s.R) * rows.bc_stride + (row % s.R * s.G + group) * s.N;
          return float4{as_float(__ldg(rows.B + at + a)), as_float(__ldg(rows.B + at + b)),
                        as_float(__ldg(rows.C + at + a)), as_float(__ldg(rows.C + at + b))};
        },
        [&](int row, float4 v) {
          const float *B_bias = head.B_bias + row % s.R * s.N, *C_bias = head.C_bias + row % s.R * s.N;
          float *k = m.k + (row + s.R) * s.wide_n, *q = m.q + row * s.wide_n;
          v.x += __ldg(B_bias + a), v.y += __ldg(B_bias + b);
          v.z += __ldg(C_bias + a), v.w += __ldg(C_bias + b);
          float sine = 0, cosine = 1;
          if (pair < s.S) {
            const int angle = row / s.R * s.S + pair;
            sine = m.sine[angle], cosine = m.cosine[angle];
          }
          k[a] = v.x * cosine - v.y * sine, k[b] = v.x * sine + v.y * cosine;
          q[a] = v.z * cosine - v.w * sine, q[b] = v.z * sine + v.w * cosine;
        });
  }
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

  // sum_n h q over the threads that share p(), of value owned() of the four.
  __device__ float read(const float* q) const {
    float sum[kHigh] = {};
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
    // Halves exchange sums until each thread has one of the four, over a fourth of the threads.
    const auto exchange = [](float kept, float given, int apart) {
      return kept + __shfl_xor_sync(0xffffffff, given, apart);
    };
    const bool upper = lane() & 8, odd = lane() & 4;
    const float a = exchange(upper ? sum[2] : sum[0], upper ? sum[0] : sum[2], 8);
    const float b = exchange(upper ? sum[3] : sum[1], upper ? sum[1] : sum[3], 8);
    return warp_reduce<4>(exchange(odd ? b : a, odd ? a : b, 4), Plus());
  }
  __device__ static int owned() {
    return lane() / 4;
  }
};

// Steps 7 and 8 for one token: its k and v of [2, R, .], behind those of the token before it.
template <int kQuads, int kRank>
__device__ void run_token(const Shape& s, float D, float alpha, float beta, float gamma,
                          const float* __restrict__ k, const float* __restrict__ q,
                          const float* __restrict__ v, float* __restrict__ y, Piece<kQuads>& state) {
  const int R = kRank == 0 ? s.R : kRank;
  const float* own = v + R * s.wide_p;
  state.decay(alpha);
  for (int r = 0; r < R; ++r) {
    state.add(beta, v + r * s.wide_p, k + r * s.wide_n);
    state.add(gamma, own + r * s.wide_p, k + (R + r) * s.wide_n);
  }
  const int p = state.p() + state.owned();
  for (int r = 0; r < R; ++r) {
    const float sum = state.read(q + r * s.wide_n);
    if (state.lane() % 4 == 0) y[r * s.wide_p + p] = fmaf(D, own[r * s.wide_p + p], sum);
  }
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

// Block (head, sequence).
template <int kQuads, int kRank, typename Row>
__global__ void __launch_bounds__(kMostThreads, 1)
    recur(Shape s, Mamba3Layout l, RecurrentWeights weights, RecurrentRows<Row> rows,
          RecurrentSequences sequences) {
  extern __shared__ __align__(16) float memory[];
  const std::int64_t begin = sequences.cu_seqlens[blockIdx.y], end = sequences.cu_seqlens[blockIdx.y + 1];
  if (begin == end) return;
  const Head head(l, sequences.states[blockIdx.y] + sequences.offset, weights, blockIdx.x);
  const Batch m(s, memory);
  for (int i = threadIdx.x; i < Batch::size(s); i += blockDim.x) memory[i] = 0;  // padding stays so
  __syncthreads();

  const int R = kRank == 0 ? s.R : kRank;
  const bool moves = Piece<kQuads>::p() < s.wide_p;
  Piece<kQuads> state;
  if (moves) state.load(l, head.h);
  float theta = threadIdx.x < s.S ? head.theta[threadIdx.x] : 0;
  load_start(s, l, head, m);
  for (std::int64_t first = begin; first < end; first += s.batch) {
    const int count = static_cast<int>(min(end - first, std::int64_t{s.batch}));
    load_dynamics(s, rows, first, count, m);
    __syncthreads();
    turn(s, count, m, theta);
    load_values(s, head, rows, first, count, m);
    __syncthreads();
    take_sines(s, count, m);
    __syncthreads();
    rotate_tokens(s, head, rows, first, count, m);
    __syncthreads();
#pragma unroll 2
    for (int i = 0; moves && i < count; ++i) {
      run_token<kQuads, kRank>(s, head.D, m.alpha[i], m.beta[i], m.gamma[i], m.k + i * R * s.wide_n,
                               m.q + i * R * s.wide_n, m.v + i * R * s.wide_p, m.y + i * R * s.wide_p, state);
    }
    __syncthreads();
    gate_tokens(s, head, rows, first, count, m);
    keep_last(s, count, m);
    __syncthreads();
  }
  if (moves) state.store(l, head.h);
  store_end(s, l, head, rows.x + (end - 1) * rows.zx_stride + blockIdx.x * s.P, m, theta);
}

template <typename Row>
using Kernel = void (*)(Shape, Mamba3Layout, RecurrentWeights, RecurrentRows<Row>, RecurrentSequences);

template <typename Row>
Kernel<Row> kernel_for(const Shape& s) {
  const int quads = s.wide_n / (kLanes * kQuad);
  if (s.R == 1) return quads == 1 ? recur<1, 1, Row> : quads == 2 ? recur<2, 1, Row> : recur<4, 1, Row>;
  return quads == 1 ? recur<1, 0, Row> : quads == 2 ? recur<2, 0, Row> : recur<4, 0, Row>;
}

Shape shape_of(const Mamba3Config& c) {
  const auto wide_p = (c.headdim + 2 * kHigh - 1) / (2 * kHigh) * (2 * kHigh);  // whole warps
  const int wide_n = c.d_state <= 64 ? 64 : c.d_state <= 128 ? 128 : 256;
  Shape s{.P = static_cast<int>(c.headdim),
          .N = static_cast<int>(c.d_state),
          .R = static_cast<int>(c.rank()),
          .S = static_cast<int>(c.n_angles()),
          .G = static_cast<int>(c.ngroups),
          .heads = static_cast<int>(c.n_heads()),
          .wide_p = static_cast<int>(wide_p),
          .wide_n = wide_n,
          .batch = 1,
          .is_mimo = c.is_mimo};
  s.batch = std::min(kMostTokens, (kSharedFloats - Batch::fixed(s)) / Batch::per_token(s));
  return s;
}

}  // namespace

bool takes_recurrent(const Mamba3Config& c) {
  if (c.d_state > 256 || c.headdim > 128 || c.rank() > kSharedFloats) return false;
  return shape_of(c).batch >= 1;
}

template <typename Row>
void mamba3_recurrent(const Mamba3Config& config, const Mamba3Layout& layout, const RecurrentWeights& weights,
                      const RecurrentRows<Row>& rows, const RecurrentSequences& sequences,
                      cudaStream_t stream) {
  if (sequences.count == 0) return;
  const Shape s = shape_of(config);
  const auto bytes = Batch::size(s) * sizeof(float);
  const Kernel<Row> kernel = kernel_for<Row>(s);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "mamba3_recurrent");
  const dim3 grid(static_cast<unsigned>(s.heads), static_cast<unsigned>(sequences.count));
  const int threads = std::max(kLeastThreads, s.wide_p / kHigh * kLanes);
  kernel<<<grid, threads, bytes, stream>>>(s, layout, weights, rows, sequences);
  check_launch("mamba3_recurrent");
}

template void mamba3_recurrent(const Mamba3Config&, const Mamba3Layout&, const RecurrentWeights&,
                               const RecurrentRows<float>&, const RecurrentSequences&, cudaStream_t);
template void mamba3_recurrent(const Mamba3Config&, const Mamba3Layout&, const RecurrentWeights&,
                               const RecurrentRows<__nv_bfloat16>&, const RecurrentSequences&, cudaStream_t);

}  // namespace mamba3::cuda
