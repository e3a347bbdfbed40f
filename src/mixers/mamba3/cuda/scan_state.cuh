// A segment's start and end: the sequence's state in memory, and the partial states of its segments.
#pragma once

#include "mixers/mamba3/cuda/scan_inputs.cuh"
#include "mixers/mamba3/cuda/scan_products.cuh"

namespace mamba3::cuda::scan {

/// Calls visit(value, p, column) for each of a lane's values of the state: its place among P and its column.
template <typename S, typename Visit>
__device__ inline void each_value(const Place& place, State<S>& state, const Visit& visit) {
  const int first = place.slice + state_tile<S>(place) * 16 + place.lane / 4;
#pragma unroll
  for (int half = 0; half < S::kHalves; ++half) {
#pragma unroll
    for (int i = 0; i < S::kTilesN; ++i) {
      const int column = half * kColumns + state_column<S>(place) + i * 8 + place.lane % 4 * 2;
#pragma unroll
      for (int j = 0; j < 4; ++j) visit(state.h[half][i][j], first + j / 2 * 8, column + j % 2);
    }
  }
}

__device__ inline float* state_of(const Arguments& a, const Place& p) {
  return a.states[p.sequence] + a.state_offset;
}

/// The sequence's state, with what its first token gives to the token before it: (1 - lambda) dt k v. Zeros
/// for an empty start. theta to shared memory.
template <typename S>
__device__ inline void load_state(const Arguments& a, const Place& p, State<S>& state, char* shared) {
  if (a.states == nullptr) {
    state = {};
    return;
  }
  const float* __restrict__ from = state_of(a, p);
  const float* __restrict__ h = from + a.h + static_cast<std::int64_t>(p.head) * a.d_state * a.wide_p;
  each_value<S>(p, state, [&](float& value, int at_p, int column) {
    value = column < a.d_state ? h[state_index<S>(column, a.d_state) * a.wide_p + at_p] : 0;
  });
  for (int s = threadIdx.x; s < a.angles; s += kThreads) {
    const float theta = from[a.theta + p.head * a.angles + s];
    at<float>(shared, Memory<S>::theta + s * 4) = wrap_angle(theta);
  }
  const float* __restrict__ k = from + a.tokens + p.head * a.head_tokens;
  const float* __restrict__ x = k + a.rank * a.wide_n;
  const std::int64_t token = p.first * a.heads + p.head;
  const float given = sigmoid(-a.in.trap[token]) * a.in.dt[token];
#pragma unroll 1
  for (int r = 0; r < a.rank; ++r) {
    const float* __restrict__ scale = a.parameters.mimo_x + (p.head * a.rank + r) * a.headdim;
    each_value<S>(p, state, [&](float& value, int at_p, int column) {
      const float v = S::kMimo ? x[at_p] * scale[at_p] : x[at_p];
      const float key = column < a.d_state ? k[r * a.wide_n + state_index<S>(column, a.d_state)] : 0;
      value += given * key * v;
    });
  }
}

/// The state after the sequence's last token, whose k (biased and rotated) and x join it.
template <typename S>
__device__ inline void store_state(const Arguments& a, const Place& p, State<S>& state, char* shared) {
  if (a.states == nullptr) return;
  float* to = state_of(a, p);
  float* h = to + a.h + static_cast<std::int64_t>(p.head) * a.d_state * a.wide_p;
  each_value<S>(p, state, [&](float& value, int at_p, int column) {
    if (column < a.d_state) h[state_index<S>(column, a.d_state) * a.wide_p + at_p] = value;
  });
  if (p.slice > 0) return;
  const auto theta = [&](int s) { return at<float>(shared, Memory<S>::theta + s * 4); };
  for (int s = threadIdx.x; s < a.angles; s += kThreads) {
    const float angle = theta(s) < 0 ? theta(s) + kTwoPi : theta(s);
    to[a.theta + p.head * a.angles + s] = to[a.start + p.head * a.angles + s] = angle;
  }
  const std::int64_t last = p.first + p.tokens - 1;
  float* k = to + a.tokens + p.head * a.head_tokens;
  const __nv_bfloat16* B = a.in.B + last * a.in.bc_stride + p.group * a.d_state;
#pragma unroll 1
  for (int i = threadIdx.x; i < a.rank * a.d_state / 2; i += kThreads) {
    const int r = i / (a.d_state / 2), pair = i % (a.d_state / 2);
    const int n = state_index<S>(2 * pair, a.d_state), m = state_index<S>(2 * pair + 1, a.d_state);
    const float* bias = a.parameters.B_bias + (p.head * a.rank + r) * a.d_state;
    const __nv_bfloat16* row = B + r * a.ngroups * a.d_state;
    const float first = __bfloat162float(row[n]) + bias[n], second = __bfloat162float(row[m]) + bias[m];
    float sine = 0, cosine = 1;
    if (pair < a.angles) sincospif(2 * kInverseTwoPi * theta(pair), &sine, &cosine);
    k[r * a.wide_n + n] = first * cosine - second * sine;
    k[r * a.wide_n + m] = first * sine + second * cosine;
  }
  const __nv_bfloat16* x = a.in.x + last * a.in.zx_stride + p.head * a.headdim;
  for (int i = threadIdx.x; i < a.headdim; i += kThreads) k[a.rank * a.wide_n + i] = __bfloat162float(x[i]);
}

/// A head's part of a slot: the state as its lanes hold it, one float4 a tile and lane; what its angles turn
/// and the logarithm (base 2) of its decay. Both are of the segment alone, which starts from zero angles.
template <typename S>
struct Slot {
  float4* tiles;
  float* theta;
  float* log_decay;

  __device__ Slot(const Arguments& a, const Place& p, int index) {
    float* values = a.slots + ((p.slot + index) * a.heads + p.head) * a.slot_size;
    tiles = reinterpret_cast<float4*>(values + p.slice * S::kHalves * kColumns);
    tiles += p.warp * (S::kHalves * S::kTilesN * 32) + p.lane;
    theta = values + S::kHalves * kColumns * a.headdim, log_decay = theta + a.angles;
  }
};

template <typename S>
__device__ inline void store_slot(const Arguments& a, const Place& p, int index, float log_decay,
                                  const State<S>& state, char* shared) {
  const Slot<S> to(a, p, index);
#pragma unroll
  for (int i = 0; i < S::kHalves * S::kTilesN; ++i) {
    const float(&h)[4] = state.h[i / S::kTilesN][i % S::kTilesN];
    to.tiles[i * 32] = {h[0], h[1], h[2], h[3]};
  }
  for (int s = threadIdx.x; s < a.angles; s += kThreads)
    to.theta[s] = at<float>(shared, Memory<S>::theta + s * 4);
  if (threadIdx.x == 0) *to.log_decay = log_decay;
}

/// The start of a segment from the slots before it: each decays what came before, and its own, which lies in
/// the frame of its own start, is turned by the angles until then. theta begins as zeros.
template <typename S>
__device__ inline void gather_slots(const Arguments& a, const Place& p, State<S>& state, char* shared) {
  state = {};
#pragma unroll 1
  for (int index = 0; index <= p.index; ++index) {
    const Slot<S> from(a, p, index);
    const float decay = exp2_fast(*from.log_decay);
#pragma unroll
    for (int i = 0; i < S::kHalves * S::kTilesN; ++i) {
      const int half = i / S::kTilesN, tile = i % S::kTilesN;
      const int pair = half * kPairs + (state_column<S>(p) + tile * 8) / 2 + p.lane % 4;
      const float4 h = from.tiles[i * 32];
      float sine, cosine;
      __sincosf(at<float>(shared, Memory<S>::theta + pair * 4), &sine, &cosine);
      float(&to)[4] = state.h[half][tile];
      to[0] = decay * to[0] + h.x * cosine - h.y * sine;
      to[1] = decay * to[1] + h.x * sine + h.y * cosine;
      to[2] = decay * to[2] + h.z * cosine - h.w * sine;
      to[3] = decay * to[3] + h.z * sine + h.w * cosine;
    }
    __syncthreads();
    for (int s = threadIdx.x; s < a.angles; s += kThreads) {
      float& theta = at<float>(shared, Memory<S>::theta + s * 4);
      theta = wrap_angle(theta + from.theta[s]);
    }
    __syncthreads();
  }
}

}  // namespace mamba3::cuda::scan
