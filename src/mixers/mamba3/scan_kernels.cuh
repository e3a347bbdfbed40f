// The two kernels of the scan. One walks a segment and writes its output; where sequences are cut into
// several segments, the other first finds what each adds to the state.
#pragma once

#include "mixers/mamba3/scan_gate.cuh"
#include "mixers/mamba3/scan_state.cuh"

namespace mamba3::cuda::scan {

// 168 registers a thread for half a state's columns, so that three blocks share a multiprocessor; the double
// state needs all 255.
template <typename S>
constexpr int kMostThreads = S::kHalves == 1 ? 384 : 256;

/// The shared memory of a block, and what all its phases use.
template <typename S>
struct Chunk {
  const Arguments& a;
  const Place& p;
  const SharedMap& map;
  char* shared;
  std::uint32_t base;
  TileLanes lanes;

  __device__ Chunk(const Arguments& args, const Place& place, const SharedMap& where, char* memory)
      : a(args), p(place), map(where), shared(memory), base(shared_address(memory)), lanes(place.lane) {}

  __device__ std::uint32_t q() const { return base + map.q; }
  __device__ std::uint32_t k() const { return base + map.k; }
  __device__ std::uint32_t h() const { return base + map.h + p.slice * 2 * S::kStatePanel; }
  __device__ std::uint32_t v() const { return base + map.v + p.slice * kKeysPanel; }
  __device__ std::uint32_t z() const { return base + map.z + p.slice * kKeysPanel; }
  /// For MIMO x before it meets mimo_x, behind z: tokens are at most half as many as rows.
  __device__ std::uint32_t x() const { return S::kMimo ? z() + kKeysPanel / 2 : v(); }
  __device__ float* theta() const { return reinterpret_cast<float*>(shared + map.theta); }

  /// Biases and angles to shared memory; the caller synchronizes.
  __device__ void begin() const {
    load_biases<S>(a, p, map, shared);
    for (int s = threadIdx.x; s < SharedMap::round_up(a.angles, 8); s += p.threads) theta()[s] = 0;
  }
  __device__ void fetch_keys(int at, int half) const { fetch_rows<S>(a, p, at, half, a.in.B, k()); }
  __device__ void fetch_queries(int at, int half) const { fetch_rows<S>(a, p, at, half, a.in.C, q()); }
  __device__ void fetch_x(int at) const {
    fetch_tokens<S>(a, p, at, 0, S::kTokens, threadIdx.x % kGroupThreads, kGroupThreads, a.in.x, x());
  }
  __device__ void fetch_z(int at) const {
    constexpr int kTokens = S::kTokens / 4;
    fetch_tokens<S>(a, p, at, p.row_warp * kTokens, kTokens, p.lane, 32, a.in.z, z());
  }
  __device__ void turn_keys(int half) const {
    turn_rows<S>(a, p, map, shared, base, half, reinterpret_cast<const float*>(shared + map.bias), k());
  }
  __device__ void turn_queries(int half) const {
    const float* bias = reinterpret_cast<const float*>(shared + map.bias) + S::kRanks * S::kHalves * kColumns;
    turn_rows<S>(a, p, map, shared, base, half, bias, q());
  }
  __device__ void spread() const {
    if constexpr (S::kMimo) spread_values<S>(a, p, x(), v());
  }
  __device__ void add_to(float (&h)[S::kTilesN][4], float decay) const {
    add_keys<S>(p, lanes, decay, base + map.weight, k(), v(), h);
  }
};

/// What a segment adds to the state, from zero angles: slot index + 1. The first also saves the sequence's
/// start, as slot 0: its last segment may overwrite the state before the others have read it.
template <typename S>
__global__ void __launch_bounds__(kMostThreads<S>, 1)
    segment_kernel(const __grid_constant__ Arguments a, const SharedMap map) {
  extern __shared__ __align__(1024) char shared[];
  const Place p(a);
  if (p.tokens <= 0 || p.is_last()) return;
  const Chunk<S> chunk(a, p, map, shared);
  State<S> state;
  if (p.is_first()) {
    load_state<S>(a, p, chunk.theta(), state);
    __syncthreads();
    store_slot<S>(a, p, 0, chunk.theta(), 0, state);
    __syncthreads();
  }
  chunk.begin();
  each_value<S>(p, [&](int half, int i, int j, int, int) { state.h[half][i][j] = 0; });
  float log_decay = 0;
  chunk.fetch_keys(0, 0), chunk.fetch_x(0);
  commit_copies();
  __syncthreads();
  for (int at = 0; at < p.tokens; at += S::kTokens) {
    Dynamics<S> dynamics(a, p, at);
    float end = 0;
#pragma unroll
    for (int half = 0; half < S::kHalves; ++half) {
      turn_angles<S>(a, p, map, shared, at, half, dynamics);
      if (half == 0) {
        end = dynamics.accumulate(p.lane);
        if (p.warp == 0) dynamics.publish(map, shared, p.lane, end);
      }
      wait_copies<0>();
      __syncthreads();
      chunk.turn_keys(half);
      if (half == 0) chunk.spread();
      __syncthreads();
      chunk.add_to(state.h[half], exp2_fast(end));
      __syncthreads();
      const bool last_half = half == S::kHalves - 1;
      chunk.fetch_keys(last_half ? at + S::kTokens : at, last_half ? 0 : half + 1);
      if (last_half) chunk.fetch_x(at + S::kTokens);
      commit_copies();
    }
    log_decay += end;
  }
  wait_copies<0>();
  store_slot<S>(a, p, p.index + 1, chunk.theta(), log_decay, state);
}

/// A segment's output, and after a sequence's last token its state.
template <typename S>
__global__ void __launch_bounds__(kMostThreads<S>, 1)
    scan_kernel(const __grid_constant__ Arguments a, const SharedMap map) {
  extern __shared__ __align__(1024) char shared[];
  const Place p(a);
  if (p.tokens <= 0) return;
  const Chunk<S> chunk(a, p, map, shared);
  chunk.fetch_queries(0, 0), chunk.fetch_keys(0, 0), chunk.fetch_x(0);
  commit_copies();
  chunk.fetch_z(0);
  commit_copies();
  chunk.begin();
  __syncthreads();
  State<S> state;
  if (p.is_first() && p.is_last()) {
    load_state<S>(a, p, chunk.theta(), state);
  } else {
    gather_slots<S>(a, p, chunk.theta(), state);
  }
  __syncthreads();
  const float D = a.parameters.D[p.head];
  for (int at = 0; at < p.tokens; at += S::kTokens) {
    Dynamics<S> dynamics(a, p, at);
    float end = 0;
    Rows<S> rows = {};
#pragma unroll
    for (int half = 0; half < S::kHalves; ++half) {
      const bool last_half = half == S::kHalves - 1;
      turn_angles<S>(a, p, map, shared, at, half, dynamics);
      if (half == 0) {
        end = dynamics.accumulate(p.lane);
        if (p.warp == 0) dynamics.publish(map, shared, p.lane, end);
      }
      wait_copies<1>();
      __syncthreads();
      chunk.turn_queries(half);
      chunk.turn_keys(half);
      if (half == 0) chunk.spread();
      share_state<S>(p, chunk.h(), state.h[half]);
      __syncthreads();
      read_out<S>(p, chunk.lanes, chunk.q(), chunk.k(), chunk.h(), rows);
      if (last_half) {
        weigh<S>(p, map, shared, D, rows);
        add_values<S>(p, chunk.lanes, chunk.v(), rows);
      }
      chunk.add_to(state.h[half], exp2_fast(end));
      __syncthreads();
      const int next = last_half ? at + S::kTokens : at, next_half = last_half ? 0 : half + 1;
      chunk.fetch_queries(next, next_half), chunk.fetch_keys(next, next_half);
      if (last_half) chunk.fetch_x(next);
      commit_copies();
      if (!last_half) commit_copies();  // so that always the last group but one holds what is waited for
    }
    wait_copies<1>();
    __syncwarp();
    if (a.parameters.norm != nullptr) normalize<S>(a, p, map, shared, rows);
    gate<S>(a, p, chunk.z(), rows);
    __syncwarp();
    store_tokens<S>(a, p, at, chunk.z());
    __syncwarp();
    chunk.fetch_z(at + S::kTokens);
    commit_copies();
  }
  wait_copies<0>();
  if (p.is_last()) store_state<S>(a, p, chunk.theta(), state);
}

}  // namespace mamba3::cuda::scan
