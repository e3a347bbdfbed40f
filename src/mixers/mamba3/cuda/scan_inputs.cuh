// From what a chunk has fetched to its q, k, v, angles and decays, in shared memory.
#pragma once

#include <cuda_fp16.h>

#include "mixers/mamba3/cuda/scan_fetch.cuh"

namespace mamba3::cuda::scan {

constexpr float kInverseTwoPi = 0.15915494309f;
constexpr float kTwoPi = 6.28318530718f;
constexpr float kLog2E = 1.44269504089f;
constexpr unsigned kAllLanes = 0xffffffffu;

// A token's alpha is not let below 2^-60: beside float32's 2^-24 that is nothing, and cumulative sums of
// logarithms stay below 64 * 60, where float32 is spaced by 2^-12.
constexpr float kLeastLog2 = -60;

/// An angle to [-pi, pi]: 2 pi in two parts, the first short enough for exact multiples.
__device__ inline float wrap_angle(float angle) {
  constexpr float kTwoPiHigh = 6.28125f, kTwoPiLow = 1.93530717958e-3f;
  const float turns = rintf(angle * kInverseTwoPi);
  return fmaf(turns, -kTwoPiLow, fmaf(turns, -kTwoPiHigh, angle));
}

__device__ inline float sigmoid(float v) {
  return reciprocal_fast(1 + exp2_fast(-kLog2E * v));
}

/// A chunk's decays and weights. All warps compute the same; one publishes.
template <typename S>
struct Dynamics {
  static constexpr int kEach = kTokensALane<S>;
  float dt[kEach];
  float reach[kEach];  ///< log2 of the decay from the chunk's start through the token
  float end;           ///< the same of its last token

  __device__ Dynamics(const Place& p, const DynamicsInput<S>& in, char* shared) {
    float own[kEach], key[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      dt[i] = in.dt[i];
      own[i] = sigmoid(in.trap[i]) * in.dt[i];
      key[i] = own[i] + sigmoid(-in.trap[i + 1]) * in.dt[i + 1];
      reach[i] = fmaxf(in.adt[i] * kLog2E, kLeastLog2) + (i > 0 ? reach[i - 1] : 0);
    }
    const float mine = reach[kEach - 1];
    float upto = mine;
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
      const float before = __shfl_up_sync(kAllLanes, upto, step);
      if (p.lane >= step) upto += before;
    }
    end = __shfl_sync(kAllLanes, upto, 31);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      reach[i] += upto - mine;
      key[i] = reach[i] - log2_fast(key[i]);
    }
    if (p.warp == 0) publish(p, own, key, shared);
  }

  /// For each token: what is taken off a later token's reach for log2 of this one's weight there (key), its
  /// weight in its own state (own), and in the state at the chunk's end (weight: bf16, once a row).
  __device__ void publish(const Place& p, const float (&own)[kEach], const float (&key)[kEach],
                          char* shared) const {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int token = p.lane * kEach + i;
      if (token >= S::kTokens) break;
      at<float>(shared, Memory<S>::reach + token * 4) = reach[i];
      at<float>(shared, Memory<S>::key + token * 4) = key[i];
      at<float>(shared, Memory<S>::own + token * 4) = own[i];
      const __nv_bfloat16 weight = __float2bfloat16(exp2_fast(end - key[i]));
#pragma unroll
      for (int r = 0; r < S::kRanks; ++r) {
        at<__nv_bfloat16>(shared, Memory<S>::weight + (token * S::kRanks + r) * 2) = weight;
      }
    }
  }
};

/// Cosines and sines of a chunk's angles; theta moves on by the chunk. A warp takes eight pairs at a time,
/// four lanes a pair, each a quarter of the tokens.
template <typename S>
__device__ inline void turn_angles(const Arguments& a, const Place& p, int half, const Dynamics<S>& dynamics,
                                   char* shared) {
  constexpr int kEach = S::kTokens / 4, kShared = kTokensALane<S>;
  const int quarter = p.lane / 8;
#pragma unroll 1
  for (int first = p.warp * 8; first < turning_pairs(a, half); first += kThreads / 32 * 8) {
    const int pair = first + p.lane % 8, mine = pair_offset<S>(quarter * kEach, pair);
    // Eight is a multiple of a quarter's tokens, or they of it: the permutation splits.
    const auto place = [&](int i) { return (mine ^ i % 8 << 4) + i * kRowBytes; };
    float angle[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) angle[i] = at<float>(shared, place(i));
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const float dt = __shfl_sync(kAllLanes, dynamics.dt[i % kShared], (quarter * kEach + i) / kShared);
      angle[i] = angle[i] * dt + (i > 0 ? angle[i - 1] : 0);
    }
    float upto = angle[kEach - 1];
#pragma unroll
    for (int step = 8; step < 32; step *= 2) {
      const float before = __shfl_up_sync(kAllLanes, upto, step);
      if (p.lane >= step) upto += before;
    }
    float& theta = at<float>(shared, Memory<S>::theta + (half * kPairs + pair) * 4);
    const float start = theta, offset = start + (upto - angle[kEach - 1]);
    __syncwarp();
    if (quarter == 3) theta = wrap_angle(start + upto);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      at<__half2>(shared, place(i)) = __floats2half2_rn(__cosf(offset + angle[i]), __sinf(offset + angle[i]));
    }
  }
}

/// Eight pairs of bf16 with their bias, turned where kRotates; the packed pairs take their place. For MIMO
/// the first values of the pairs come in the first piece, the second ones in the second.
template <typename S, bool kRotates>
__device__ inline void turn_pairs(const float (&bias)[16], const uint4 (&turns)[2], uint4 (&pairs)[2]) {
  const std::uint32_t in[8] = {pairs[0].x, pairs[0].y, pairs[0].z, pairs[0].w,
                               pairs[1].x, pairs[1].y, pairs[1].z, pairs[1].w};
  const std::uint32_t turn[8] = {turns[0].x, turns[0].y, turns[0].z, turns[0].w,
                                 turns[1].x, turns[1].y, turns[1].z, turns[1].w};
  std::uint32_t out[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float first, second;
    if constexpr (S::kMimo) {
      first = i % 2 == 0 ? low_bf16(in[i / 2]) : high_bf16(in[i / 2]);
      second = i % 2 == 0 ? low_bf16(in[4 + i / 2]) : high_bf16(in[4 + i / 2]);
    } else {
      first = low_bf16(in[i]), second = high_bf16(in[i]);
    }
    first += bias[2 * i], second += bias[2 * i + 1];
    if constexpr (kRotates) {
      const float2 t = __half22float2(reinterpret_cast<const __half2&>(turn[i]));
      out[i] = pack_bf16(first * t.x - second * t.y, first * t.y + second * t.x);
    } else {
      out[i] = pack_bf16(first, second);
    }
  }
  pairs[0] = {out[0], out[1], out[2], out[3]}, pairs[1] = {out[4], out[5], out[6], out[7]};
}

/// One panel of turn_rows.
template <typename S, int kOperands, bool kRotates>
__device__ inline void turn_panel(int half, int panel, char* shared) {
  using M = Memory<S>;
  constexpr int kWidth = S::kHalves * kColumns;
  const RowTiles<S> mine;
  float add[kOperands][16];
#pragma unroll
  for (int j = 0; j < kOperands * 4; ++j) {
    const int from = (j / 4 * S::kRanks + mine.rank) * kWidth + half * kColumns + panel * kPanel;
    const float4 four = at<float4>(shared, M::bias + from * 4 + bias_piece(mine.rank, mine.tile, j % 4) * 16);
    float(&to)[16] = add[j / 4];
    to[j % 4 * 4] = four.x, to[j % 4 * 4 + 1] = four.y, to[j % 4 * 4 + 2] = four.z,
               to[j % 4 * 4 + 3] = four.w;
  }
  const auto place = [&](int i, int operand, int j) {
    return M::k - operand * (M::k - M::q) + panel * kKeysPanel + i * mine.kStep * kRowBytes +
           (piece_offset(mine.row, 2 * mine.tile) ^ j << 4);
  };
  // All loads, then all stores: the compiler cannot tell that they do not meet.
  uint4 pairs[mine.kEach][kOperands][2], turns[mine.kEach][2];
#pragma unroll
  for (int i = 0; i < mine.kEach * 2; ++i) {
    const int token = (mine.row + i / 2 * mine.kStep) / S::kRanks,
              turn = turn_offset<S>(token, 2 * mine.tile);
#pragma unroll
    for (int operand = 0; operand < kOperands; ++operand) {
      pairs[i / 2][operand][i % 2] = at<uint4>(shared, place(i / 2, operand, i % 2));
    }
    if constexpr (kRotates) {
      turns[i / 2][i % 2] = at<uint4>(shared, M::turns + panel * M::kTurnsPanel + (turn ^ i % 2 << 4));
    }
  }
#pragma unroll
  for (int i = 0; i < mine.kEach * kOperands; ++i) {
    const int operand = i % kOperands;
    turn_pairs<S, kRotates>(add[operand], turns[i / kOperands], pairs[i / kOperands][operand]);
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      at<uint4>(shared, place(i / kOperands, operand, j)) = pairs[i / kOperands][operand][j];
    }
  }
}

/// Biases and rotates the rows this thread has brought, in place: k, and q where there are two operands.
template <typename S, int kOperands>
__device__ inline void turn_rows(const Arguments& a, int half, char* shared) {
#pragma unroll 1
  for (int panel = 0; panel < 2; ++panel) {
    if (half * kPairs + panel * kPanel / 2 < a.angles) {
      turn_panel<S, kOperands, true>(half, panel, shared);
    } else {
      turn_panel<S, kOperands, false>(half, panel, shared);
    }
  }
}

/// MIMO's values: x of a row's token times mimo_x of its rank.
template <typename S>
__device__ inline void spread_values(char* shared) {
  constexpr int kPieces = S::kSlice / 8, kStep = kThreads / kPieces, kEach = kRows / kStep;
  static_assert(kStep % S::kRanks == 0);
  const int piece = threadIdx.x % kPieces, first = threadIdx.x / kPieces;
  const int from = Memory<S>::scales + first % S::kRanks * S::kSlice * 4 + piece * 16;
  const float4 low = at<float4>(shared, from), high = at<float4>(shared, from + S::kSlice * 2);
  const float scale[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
  uint4 x[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    x[i] = at<uint4>(shared, Memory<S>::x + piece_offset((first + i * kStep) / S::kRanks, piece));
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const std::uint32_t in[4] = {x[i].x, x[i].y, x[i].z, x[i].w};
    std::uint32_t out[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      out[j] = pack_bf16(low_bf16(in[j]) * scale[2 * j], high_bf16(in[j]) * scale[2 * j + 1]);
    }
    at<uint4>(shared, Memory<S>::v + piece_offset(first + i * kStep, piece)) = {out[0], out[1], out[2],
                                                                                out[3]};
  }
}

}  // namespace mamba3::cuda::scan
