// What the kernels of a step know of a layer: its state's layout, the shape of a head, and how a block of
// threads shares it.
#pragma once

#include <cstdint>

#include "mixers/mamba3/layout.h"

namespace mamba3::cuda::step {

inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kLanes = 32;
inline constexpr int kTileRows = 16;
inline constexpr int kTileColumns = 4;

/// A layout in 32 bits: offsets within a layer's state.
struct StateShape {
  int heads, headdim, d_state, rank, angles, wide_n, wide_p, wide_s, wide_c, slots, token;
  int theta, start, rate, h, tokens, alpha, own, before, dt;

  explicit StateShape(const Mamba3Layout& l)
      : heads(static_cast<int>(l.heads)),
        headdim(static_cast<int>(l.headdim)),
        d_state(static_cast<int>(l.d_state)),
        rank(static_cast<int>(l.rank)),
        angles(static_cast<int>(l.angles)),
        wide_n(static_cast<int>(l.wide_n)),
        wide_p(static_cast<int>(l.wide_p)),
        wide_s(static_cast<int>(l.wide_s)),
        wide_c(static_cast<int>(l.wide_c)),
        slots(static_cast<int>(1 + l.chunk)),
        token(static_cast<int>(l.token)),
        theta(static_cast<int>(l.theta)),
        start(static_cast<int>(l.start)),
        rate(static_cast<int>(l.rate)),
        h(static_cast<int>(l.h)),
        tokens(static_cast<int>(l.tokens)),
        alpha(static_cast<int>(l.alpha)),
        own(static_cast<int>(l.own)),
        before(static_cast<int>(l.before)),
        dt(static_cast<int>(l.dt)) {}
};

/// A head of the published models, SISO (rank 1) or MIMO (rank 4) with N 128 and P 64: what is known when the
/// kernel is compiled costs neither registers nor instructions. h and the slots of a session that only steps
/// come to shared memory.
template <int kRank>
struct PublishedHead {
  static constexpr bool kPublished = true;
  static constexpr int kRanks = kRank;
  static constexpr int kThreads = 128;
  static constexpr int kBlocks = kRank == 1 ? 5 : 4;  // that fit on a multiprocessor by their shared memory
  static constexpr bool is_mimo = kRank > 1;
  static constexpr int R = kRank, N = 128, P = 64, wide_n = N, wide_p = P, token = R * wide_n + wide_p;

  __host__ __device__ PublishedHead(const StateShape&, bool) {}
  __device__ static constexpr int threads() { return kThreads; }
  static bool takes(const Mamba3Layout& l, bool mimo) {
    return mimo == is_mimo && l.rank == R && l.d_state == N && l.headdim == P;
  }
};

/// Any head with N up to 256, P up to 128 and R up to kRank: h comes to registers, and the slots stay in
/// memory, to keep within 99 KB of shared memory.
template <int kRank>
struct AnyHead {
  static constexpr bool kPublished = false;
  static constexpr int kRanks = kRank;
  static constexpr int kThreads = 512;
  static constexpr int kBlocks = 1;
  const bool is_mimo;
  const int R, N, P, wide_n, wide_p, token;

  __host__ __device__ AnyHead(const StateShape& shape, bool mimo)
      : is_mimo(mimo),
        R(shape.rank),
        N(shape.d_state),
        P(shape.headdim),
        wide_n(shape.wide_n),
        wide_p(shape.wide_p),
        token(shape.token) {}
  __device__ static int threads() { return static_cast<int>(blockDim.x); }
};

/// Groups of kTileRows rows of h.
template <typename Head>
__host__ __device__ constexpr int row_groups(const Head& s) {
  return (s.N + kTileRows - 1) / kTileRows;
}

/// Threads of a block: a tile each for all of h; two warps at least, one for k and one for q.
template <typename Head>
int block_threads(const Head& s) {
  const int warps = (s.wide_p / kTileColumns * row_groups(s) + kLanes - 1) / kLanes;
  return (warps < 2 ? 2 : warps) * kLanes;
}

/// One head's part of a state, as Mamba3Head has it.
struct HeadState {
  const StateShape& shape;
  float* const values;
  const int head;

  __device__ float* theta() const { return values + shape.theta + head * shape.angles; }
  __device__ float* start() const { return values + shape.start + head * shape.angles; }
  __device__ float* h() const { return values + shape.h + head * shape.d_state * shape.wide_p; }
  __device__ float* token(int slot) const {
    return values + shape.tokens + (head * shape.slots + slot) * shape.token;
  }
  __device__ float* alpha() const { return values + shape.alpha + head * shape.wide_c; }
  __device__ float* own() const { return values + shape.own + head * shape.wide_c; }
  __device__ float* before() const { return values + shape.before + head * shape.wide_c; }
  __device__ float* dt() const { return values + shape.dt + head * shape.wide_c; }
};

}  // namespace mamba3::cuda::step
