// The two kernels of the scan. One walks a segment and writes its output; where sequences are cut into
// several segments, the other first finds what each adds to the state.
#pragma once

#include "mixers/mamba3/cuda/scan_gate.cuh"
#include "mixers/mamba3/cuda/scan_state.cuh"
#include "mixers/mamba3/cuda/scan_warpgroup.cuh"

namespace mamba3::cuda::scan {

// Three blocks share a multiprocessor where a thread's part of the state is 64 registers: 168 for all.
template <typename S>
constexpr int kBlocks = S::kHalves == 1 ? 3 : 2;

/// The phases of a chunk, over a block's shared memory.
template <typename S>
struct Chunk {
  using M = Memory<S>;
  const Arguments& a;
  const Place& p;
  char* shared;
  std::uint32_t base;
  Sources<S> sources;

  __device__ Chunk(const Arguments& arguments, const Place& place, char* memory)
      : a(arguments), p(place), shared(memory), base(shared_address(memory)), sources(arguments, place) {}

  /// Parameters and zero angles to shared memory; the caller synchronizes.
  __device__ void begin() const {
    load_parameters<S>(a, p, shared);
    for (int s = threadIdx.x; s < S::kHalves * kPairs; s += kThreads) at<float>(shared, M::theta + s * 4) = 0;
  }
  /// Starts the copies of what comes before the products of a half; one group.
  template <bool kQueries>
  __device__ void fetch(int begin, int half) const {
    fetch_rates<S>(a, p, sources, begin, half, base);
    if (kQueries) fetch_rows<S>(a, p, begin, half, sources.B + sources.to_C, base + M::q);
    fetch_rows<S>(a, p, begin, half, sources.B, base + M::k);
    if (half == 0) fetch_tokens<S>(a, p, begin, sources.x, base + M::x);
    commit_copies();
  }
  /// The same of a warp's z.
  __device__ void fetch_gate(int begin) const {
    fetch_tokens<S>(a, p, begin, sources.x + sources.to_z, base + M::z);
    commit_copies();
  }
  /// Lets products of warp groups see what this thread has written, from the next barrier on.
  __device__ void publish() const {
    if constexpr (kByGroup<S>) fence_shared();
  }

  /// Adds the chunk's keys to the state of a half.
  __device__ void add_to_state(float (&state)[S::kTilesN][4]) const {
    if constexpr (kByGroup<S>) {
      std::uint32_t left[kRows / 16][4];
#pragma unroll
      for (int i = 0; i < kRows / 16; ++i) load_weighed_values<S>(p, i, base + M::v, shared, left[i]);
      hold(left), hold(state);
      fence_products();
      start_adding_keys<S>(base + M::k, left, state);
      wait_products<0>();
      hold(state);
    } else {
      add_keys<S>(p, base + M::k, base + M::v, shared, state);
    }
  }

  /// Reads the state of a half out, as it is shared, and adds the chunk's keys to it, as it has decayed; the
  /// last half finishes y.
  __device__ void multiply(bool last_half, float D, Rows<S>& rows, float (&state)[S::kTilesN][4]) const {
    if constexpr (kByGroup<S>) {
      hold(rows.score), hold(rows.y);
      fence_products();
      start_reading<S>(base + M::q, base + M::k, base + M::h, rows);
      wait_products<0>();
      hold(rows.score), hold(rows.y);
      if (last_half) {
        weigh<S>(p, here(D), shared, rows);
        start_adding_values<S>(base + M::v, rows);
      }
      std::uint32_t left[kRows / 16][4];
#pragma unroll
      for (int i = 0; i < kRows / 16; ++i) load_weighed_values<S>(p, i, base + M::v, shared, left[i]);
      hold(left), hold(state);
      fence_products();
      start_adding_keys<S>(base + M::k, left, state);
      wait_products<0>();
      hold(state), hold(rows.y);
    } else {
      read_out<S>(p, base + M::q, base + M::k, base + M::h, rows);
      if (last_half) {
        weigh<S>(p, here(D), shared, rows);
        add_values<S>(p, base + M::v, rows);
      }
      add_keys<S>(p, base + M::k, base + M::v, shared, state);
    }
  }

  /// From y to the chunk's output.
  __device__ void finish(int begin, Rows<S>& rows) const {
    if (a.parameters.norm != nullptr) normalize<S>(a, p, rows);
    gate<S>(p, shared, rows);
    __syncwarp();
    store_tokens<S>(a, p, begin, shared);
    __syncwarp();
  }
};

/// What a segment adds to the state, from zero angles: slot index + 1. The first also saves the sequence's
/// start, as slot 0: one block may overwrite the state before the others have read it.
template <typename S>
__global__ void __launch_bounds__(kThreads, kBlocks<S>) segment_kernel(const __grid_constant__ Arguments a) {
  extern __shared__ __align__(1024) char shared[];
  const Place p(a);
  if (p.tokens <= 0 || p.is_alone(a) || (p.is_last() && !p.is_first())) return;
  const Chunk<S> chunk(a, p, shared);
  State<S> state;
  if (p.is_first()) {
    chunk.begin();
    __syncthreads();
    load_state<S>(a, p, state, shared);
    __syncthreads();
    store_slot<S>(a, p, 0, 0, state, shared);
    if (p.is_last()) return;
    __syncthreads();
  }
  DynamicsInput<S> input;
  input.load(a, p, chunk.sources, 0);
  chunk.template fetch<false>(0, 0);
  chunk.begin();
  state = {};
  float log_decay = 0;
  __syncthreads();
  for (int begin = 0; begin < p.tokens; begin += S::kTokens) {
    wait_copies<0>();
    const Dynamics<S> dynamics(p, input, shared);
    log_decay += dynamics.end;
#pragma unroll
    for (int half = 0; half < S::kHalves; ++half) {
      if (half > 0) wait_copies<0>();
      __syncwarp();
      turn_angles<S>(a, p, half, dynamics, shared);
      __syncthreads();
      turn_rows<S, 1>(a, half, shared);
      if (S::kMimo && half == 0) spread_values<S>(shared);
      decay_state<S>(exp2_fast(dynamics.end), state.h[half]);
      chunk.publish();
      __syncthreads();
      chunk.add_to_state(state.h[half]);
      __syncthreads();
      const bool last_half = half == S::kHalves - 1;
      chunk.template fetch<false>(last_half ? begin + S::kTokens : begin, last_half ? 0 : half + 1);
    }
    input.load(a, p, chunk.sources, begin + S::kTokens);
  }
  wait_copies<0>();
  store_slot<S>(a, p, p.index + 1, log_decay, state, shared);
}

/// A segment's output, and after a sequence's last token its state.
template <typename S>
__global__ void __launch_bounds__(kThreads, kBlocks<S>) scan_kernel(const __grid_constant__ Arguments a) {
  extern __shared__ __align__(1024) char shared[];
  const Place p(a);
  if (p.tokens <= 0) return;
  const Chunk<S> chunk(a, p, shared);
  DynamicsInput<S> input;
  input.load(a, p, chunk.sources, 0);
  chunk.template fetch<true>(0, 0);
  chunk.fetch_gate(0);
  chunk.begin();
  __syncthreads();
  State<S> state;
  if (p.is_alone(a)) {
    load_state<S>(a, p, state, shared);
  } else {
    gather_slots<S>(a, p, state, shared);
  }
  __syncthreads();
  const float D = a.parameters.D[p.head];
  for (int begin = 0; begin < p.tokens; begin += S::kTokens) {
    wait_copies<1>();
    const Dynamics<S> dynamics(p, input, shared);
    Rows<S> rows = {};
#pragma unroll
    for (int half = 0; half < S::kHalves; ++half) {
      const bool last_half = half == S::kHalves - 1;
      if (half > 0) wait_copies<0>();
      __syncwarp();
      turn_angles<S>(a, p, half, dynamics, shared);
      __syncthreads();
      turn_rows<S, 2>(a, half, shared);
      if (S::kMimo && half == 0) spread_values<S>(shared);
      share_state<S>(p, state.h[half], shared);
      decay_state<S>(exp2_fast(dynamics.end), state.h[half]);
      chunk.publish();
      __syncthreads();
      chunk.multiply(last_half, D, rows, state.h[half]);
      __syncthreads();
      chunk.template fetch<true>(last_half ? begin + S::kTokens : begin, last_half ? 0 : half + 1);
    }
    input.load(a, p, chunk.sources, begin + S::kTokens);
    wait_copies<1>();
    __syncwarp();
    chunk.finish(begin, rows);
    chunk.fetch_gate(begin + S::kTokens);
  }
  wait_copies<0>();
  if (p.is_last()) store_state<S>(a, p, state, shared);
}

}  // namespace mamba3::cuda::scan
