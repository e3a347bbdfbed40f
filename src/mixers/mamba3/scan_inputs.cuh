// From a layer's inputs to a chunk's q, k, v and decays in shared memory.
#pragma once

#include <cuda_fp16.h>

#include "core/cuda/mma.cuh"
#include "mixers/mamba3/scan_block.cuh"

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

// Rows and columns a thread brings, biases and rotates: 16 columns of every kStep-th row. Eight lanes that
// access memory together hold four tiles of two neighbouring rows, whose pieces fill all banks.
template <typename S>
struct RowTiles {
  static constexpr int kStep = S::kThreads / 4;
  static constexpr int kEach = kRows / kStep;
  const int tile = threadIdx.x % 4, row = threadIdx.x / 4;
  const int rank = row % S::kRanks;  ///< of all its rows
};

/// Where a thread reads: the first values of its row or its piece of a token, were that the segment's first.
template <typename S>
struct Sources {
  const char *B, *x;
  std::int64_t to_C, to_z;  ///< from there

  __device__ Sources(const Arguments& a, const Place& p) {
    const RowTiles<S> mine;
    const int column = S::kMimo ? mine.tile * 8 : mine.tile * 16;
    const std::int64_t row = (mine.rank * a.ngroups + p.group) * a.d_state + column;
    const std::int64_t values = p.head * a.headdim + p.slice * S::kSlice + p.lane % (S::kSlice / 8) * 8;
    B = reinterpret_cast<const char*>(a.in.B + p.first * a.in.bc_stride + row);
    x = reinterpret_cast<const char*>(a.in.x + p.first * a.in.zx_stride + values);
    to_C = reinterpret_cast<const char*>(a.in.C) - reinterpret_cast<const char*>(a.in.B);
    to_z = reinterpret_cast<const char*>(a.in.z) - reinterpret_cast<const char*>(a.in.x);
  }
};

/// Starts to copy rows of B or C of the chunk that begins at token `begin` of the segment, columns of half
/// `half`.
template <typename S>
__device__ inline void fetch_rows(const Arguments& a, const Place& p, int begin, int half, const char* from,
                                  std::uint32_t to) {
  const RowTiles<S> mine;
#pragma unroll
  for (int i = 0; i < mine.kEach; ++i) {
    const int token = begin + (mine.row + i * mine.kStep) / S::kRanks;
    const char* values = from + static_cast<std::int64_t>(token) * a.bc_bytes;
#pragma unroll
    for (int panel = 0; panel < 2; ++panel) {
      const int first = half * kColumns + panel * kPanel;
      const bool valid = token < p.tokens && mine.rank < a.rank && first + mine.tile * 16 < a.d_state;
      const char* at = values + (S::kMimo ? first : 2 * first);
      const std::uint32_t row = to + panel * kKeysPanel + i * mine.kStep * kRowBytes;
      copy_async(row + piece_offset(mine.row, 2 * mine.tile), at, valid);
      copy_async(row + piece_offset(mine.row, 2 * mine.tile + 1), at + (S::kMimo ? a.d_state : 16), valid);
    }
  }
}

/// Starts to copy x or z of a warp's tokens.
template <typename S>
__device__ inline void fetch_tokens(const Arguments& a, const Place& p, int begin, const char* from,
                                    std::uint32_t to) {
  constexpr int kPieces = S::kSlice / 8, kCount = S::kTokens / 4;
#pragma unroll
  for (int i = 0; i < kCount; i += 32 / kPieces) {
    const int mine = i + p.lane / kPieces, token = p.row_warp * kCount + mine;
    if (kCount % (32 / kPieces) != 0 && mine >= kCount) break;
    copy_async(to + piece_offset(token, p.lane % kPieces),
               from + static_cast<std::int64_t>(begin + token) * a.zx_bytes, begin + token < p.tokens);
  }
}

/// What a chunk's decays are made of, loaded ahead; lane l has tokens kEach l and on, and the next.
template <typename S>
struct DynamicsInput {
  static constexpr int kEach = S::kTokens > 32 ? S::kTokens / 32 : 1;
  float adt[kEach], dt[kEach + 1], trap[kEach + 1];

  __device__ void load(const Arguments& a, const Place& p, int begin) {
    const std::int64_t from = p.first * a.heads + p.head;
    const float *all_adt = a.in.adt + from, *all_dt = a.in.dt + from, *all_trap = a.in.trap + from;
#pragma unroll
    for (int i = 0; i <= kEach; ++i) {
      const int token = p.lane * kEach + i;
      const bool valid = token < S::kTokens + i / kEach && begin + token < p.rest;
      const std::int64_t at = static_cast<std::int64_t>(begin + token) * a.heads;
      dt[i] = valid ? all_dt[at] : 0;
      trap[i] = valid ? all_trap[at] : 0;
      if (i < kEach) adt[i] = valid ? all_adt[at] : 0;
    }
  }
};

/// A chunk's decays and weights. All warps compute the same; one publishes.
template <typename S>
struct Dynamics {
  static constexpr int kEach = DynamicsInput<S>::kEach;
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

/// Where a pair's cosine and sine lie: 4 bytes in a panel of 32 pairs, a row a token. First its rate lies
/// there.
template <typename S>
__device__ inline int turn_offset(int token, int pair) {
  return Memory<S>::turns + pair / 32 * Memory<S>::kTurnsPanel + piece_offset(token, pair % 32 / 4) +
         pair % 4 * 4;
}

/// Pairs of a half that rotate, in full panels.
__device__ inline int turning_pairs(const Arguments& a, int half) {
  return min(kPairs, (a.angles - half * kPairs + 31) / 32 * 32);
}

/// Starts to copy the rates of kPieces / 4 pairs at a time of a chunk's angles, each by the warp that turns
/// it.
template <typename S, int kEach>
__device__ inline void fetch_rates(const Arguments& a, const Place& p, int begin, int half,
                                   std::uint32_t shared) {
  constexpr int kLanes = 8 / kEach;  // of a token: a warp takes eight pairs at a time
  for (int first = p.warp * 8; first < turning_pairs(a, half); first += S::kThreads / 32 * 8) {
    const int pair = first + p.lane % kLanes * kEach, angle = half * kPairs + pair;
    const float* from = a.in.rate + p.first * a.angles + angle;
#pragma unroll
    for (int i = 0; i < S::kTokens; i += 32 / kLanes) {
      const int token = i + p.lane / kLanes;
      if (S::kTokens < 32 / kLanes && token >= S::kTokens) break;
      const bool valid = begin + token < p.tokens && angle < a.angles;
      const float* rate = from + static_cast<std::int64_t>(begin + token) * a.angles;
      const std::uint32_t to = shared + turn_offset<S>(token, pair);
      kEach == 4 ? copy_async(to, rate, valid) : copy_async_word(to, rate, valid);
    }
  }
}

/// Cosines and sines of a chunk's angles; theta moves on by the chunk. A warp takes eight pairs at a time,
/// four lanes a pair, each a quarter of the tokens.
template <typename S>
__device__ inline void turn_angles(const Arguments& a, const Place& p, int half, const Dynamics<S>& dynamics,
                                   char* shared) {
  constexpr int kEach = S::kTokens / 4, kShared = Dynamics<S>::kEach;
  const int quarter = p.lane / 8;
#pragma unroll 1
  for (int first = p.warp * 8; first < turning_pairs(a, half); first += S::kThreads / 32 * 8) {
    const int pair = first + p.lane % 8, mine = turn_offset<S>(quarter * kEach, pair);
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
__device__ inline void turn_pairs(const float (&bias)[16], const float2 (&turns)[8], uint4 (&pairs)[2]) {
  const std::uint32_t in[8] = {pairs[0].x, pairs[0].y, pairs[0].z, pairs[0].w,
                               pairs[1].x, pairs[1].y, pairs[1].z, pairs[1].w};
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
      const float2 t = turns[i];
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
    const int from =
        (j / 4 * S::kRanks + mine.rank) * kWidth + half * kColumns + panel * kPanel + mine.tile * 16;
    const float4 four = at<float4>(shared, M::bias + (from + j % 4 * 4) * 4);
    float(&to)[16] = add[j / 4];
    to[j % 4 * 4] = four.x, to[j % 4 * 4 + 1] = four.y, to[j % 4 * 4 + 2] = four.z,
               to[j % 4 * 4 + 3] = four.w;
  }
#pragma unroll
  for (int i = 0; i < mine.kEach; ++i) {
    const int row = mine.row + i * mine.kStep, token = row / S::kRanks;
    const auto place = [&](int operand, int j) {
      return M::k - operand * (M::k - M::q) + panel * kKeysPanel + i * mine.kStep * kRowBytes +
             (piece_offset(mine.row, 2 * mine.tile) ^ j << 4);
    };
    uint4 pairs[kOperands][2];
    float2 turns[8];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int operand = 0; operand < kOperands; ++operand)
        pairs[operand][j] = at<uint4>(shared, place(operand, j));
      if constexpr (kRotates) {
        const int turn = piece_offset(token, 2 * mine.tile) ^ j << 4;
        const uint4 four = at<uint4>(shared, M::turns + panel * M::kTurnsPanel + turn);
        const std::uint32_t words[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int w = 0; w < 4; ++w)
          turns[j * 4 + w] = __half22float2(reinterpret_cast<const __half2&>(words[w]));
      }
    }
#pragma unroll
    for (int operand = 0; operand < kOperands; ++operand) {
      turn_pairs<S, kRotates>(add[operand], turns, pairs[operand]);
#pragma unroll
      for (int j = 0; j < 2; ++j) at<uint4>(shared, place(operand, j)) = pairs[operand][j];
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

/// MIMO's values: x of a row's token times mimo_x of its rank, for this warp group's slice.
template <typename S>
__device__ inline void spread_values(const Arguments& a, const Place& p, char* shared) {
  constexpr int kPieces = S::kSlice / 8, kStep = kGroupThreads / kPieces, kEach = kRows / kStep;
  static_assert(kStep % S::kRanks == 0);
  const int thread = threadIdx.x % kGroupThreads, piece = thread % kPieces, first = thread / kPieces;
  const int r = first % S::kRanks;
  float scale[8] = {};
  if (r < a.rank) {
    const float* from =
        a.parameters.mimo_x + (p.head * a.rank + r) * a.headdim + p.slice * S::kSlice + piece * 8;
#pragma unroll
    for (int i = 0; i < 8; ++i) scale[i] = from[i];
  }
  uint4 x[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int token = (first + i * kStep) / S::kRanks;
    x[i] = at<uint4>(shared, Memory<S>::x + p.slice * kKeysPanel + piece_offset(token, piece));
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const std::uint32_t in[4] = {x[i].x, x[i].y, x[i].z, x[i].w};
    std::uint32_t out[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      out[j] = pack_bf16(low_bf16(in[j]) * scale[2 * j], high_bf16(in[j]) * scale[2 * j + 1]);
    }
    at<uint4>(shared, Memory<S>::v + p.slice * kKeysPanel + piece_offset(first + i * kStep, piece)) = {
        out[0], out[1], out[2], out[3]};
  }
}

/// The head's parameters that every chunk needs, to shared memory, zeros where there is no n or rank: the
/// biases in its order of columns, mimo_z and mimo_o by pairs of P.
template <typename S>
__device__ inline void load_parameters(const Arguments& a, const Place& p, char* shared) {
  constexpr int kWidth = S::kHalves * kColumns;
  for (int i = threadIdx.x; i < 2 * S::kRanks * kWidth; i += S::kThreads) {
    const int column = i % kWidth, r = i / kWidth % S::kRanks;
    const float* from = i / kWidth < S::kRanks ? a.parameters.B_bias : a.parameters.C_bias;
    const bool valid = column < a.d_state && r < a.rank;
    at<float>(shared, Memory<S>::bias + i * 4) =
        valid ? from[(p.head * a.rank + r) * a.d_state + state_index<S>(column, a.d_state)] : 0;
  }
  if constexpr (S::kMimo) {
    constexpr int kPairsP = S::kGroups * S::kSlice / 2;
    for (int i = threadIdx.x; i < S::kRanks * kPairsP; i += S::kThreads) {
      const int r = i / kPairsP, pair = i % kPairsP, from = (p.head * a.rank + r) * a.headdim + pair * 2;
      const float *z = a.parameters.mimo_z + from, *o = a.parameters.mimo_o + from;
      at<float4>(shared, Memory<S>::gates + r * Memory<S>::kGatePitch + pair * 16) =
          r < a.rank ? float4{z[0], z[1], o[0], o[1]} : float4{};
    }
  }
}

}  // namespace mamba3::cuda::scan
