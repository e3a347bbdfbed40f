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
  static constexpr int kStep = kThreads / 4;
  static constexpr int kEach = kRows / kStep;
  const int tile = threadIdx.x % 4, row = threadIdx.x / 4;
  const int rank = row % S::kRanks;  ///< of all its rows
};

/// Consecutive tokens of a chunk whose decays a lane computes.
template <typename S>
constexpr int kTokensALane = S::kTokens > 32 ? S::kTokens / 32 : 1;

/// Where a thread reads, were its chunk the segment's first: its row of B, its piece of a token's x, its
/// tokens' dt and its piece of a token's rates; and how far from there its C, z, A dt and trap lie.
template <typename S>
struct Sources {
  const char *B, *x, *dt, *rate;
  std::int64_t to_C, to_z, to_adt, to_trap;

  __device__ Sources(const Arguments& a, const Place& p) {
    const RowTiles<S> mine;
    const int column = S::kMimo ? mine.tile * 8 : mine.tile * 16;
    const std::int64_t row = (mine.rank * a.ngroups + p.group) * a.d_state + column;
    const std::int64_t values = p.head * a.headdim + p.slice + p.lane % (S::kSlice / 8) * 8;
    const std::int64_t tokens = p.first + p.lane * kTokensALane<S>;
    B = bytes(a.in.B + p.first * a.in.bc_stride + row);
    x = bytes(a.in.x + p.first * a.in.zx_stride + values);
    dt = bytes(a.in.dt + tokens * a.heads + p.head);
    rate = bytes(a.in.rate + (p.first + p.lane / 2) * a.angles + p.warp * 8 + p.lane % 2 * 4);
    to_C = bytes(a.in.C) - bytes(a.in.B), to_z = bytes(a.in.z) - bytes(a.in.x);
    to_adt = bytes(a.in.adt) - bytes(a.in.dt), to_trap = bytes(a.in.trap) - bytes(a.in.dt);
  }
  __device__ static const char* bytes(const void* p) { return static_cast<const char*>(p); }
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
    const int mine = i + p.lane / kPieces, token = p.warp * kCount + mine;
    if (kCount % (32 / kPieces) != 0 && mine >= kCount) break;
    copy_async(to + piece_offset(token, p.lane % kPieces),
               from + static_cast<std::int64_t>(begin + token) * a.zx_bytes, begin + token < p.tokens);
  }
}

/// What a chunk's decays are made of, loaded ahead: of a lane's tokens, and the next.
template <typename S>
struct DynamicsInput {
  static constexpr int kEach = kTokensALane<S>;
  float adt[kEach], dt[kEach + 1], trap[kEach + 1];

  __device__ void load(const Arguments& a, const Place& p, const Sources<S>& sources, int begin) {
    const int bytes = a.heads * static_cast<int>(sizeof(float));
#pragma unroll
    for (int i = 0; i <= kEach; ++i) {
      const int token = p.lane * kEach + i;
      const bool valid = token < S::kTokens + i / kEach && begin + token < p.rest;
      const char* from = sources.dt + static_cast<std::int64_t>(begin + i) * bytes;
      dt[i] = valid ? *reinterpret_cast<const float*>(from) : 0;
      trap[i] = valid ? *reinterpret_cast<const float*>(from + sources.to_trap) : 0;
      if (i < kEach) adt[i] = valid ? *reinterpret_cast<const float*>(from + sources.to_adt) : 0;
    }
  }
};

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

/// How the pieces of a token's angles are permuted: by the token, as those of rows are, and so that the
/// quarters of a chunk's tokens, which are written together, differ as well.
template <typename S>
__device__ inline int turn_offset(int token, int piece) {
  constexpr int kApart = S::kTokens / 4 > 8 ? S::kTokens / 4 : 8;
  return token * kRowBytes + ((piece ^ token % 8 ^ token / kApart * 2) << 4);
}

/// Where a pair's cosine and sine lie: 4 bytes in a panel of 32 pairs, a row a token. First its rate lies
/// there.
template <typename S>
__device__ inline int pair_offset(int token, int pair) {
  return Memory<S>::turns + pair / 32 * Memory<S>::kTurnsPanel + turn_offset<S>(token, pair % 32 / 4) +
         pair % 4 * 4;
}

/// Pairs of a half that rotate, in full panels.
__device__ inline int turning_pairs(const Arguments& a, int half) {
  return min(kPairs, (a.angles - half * kPairs + 31) / 32 * 32);
}

/// Starts to copy the rates of a chunk's angles, each by the warp that turns it: eight pairs of a panel.
template <typename S>
__device__ inline void fetch_rates(const Arguments& a, const Place& p, const Sources<S>& sources, int begin,
                                   int half, std::uint32_t shared) {
#pragma unroll
  for (int panel = 0; panel < 2; ++panel) {
    if (panel * 32 >= turning_pairs(a, half)) break;
    const int skipped = half * kPairs + panel * 32;
    if (a.angles % 4 == 0) {
      const int first = p.lane / 2, pair = p.warp * 8 + p.lane % 2 * 4;
#pragma unroll
      for (int i = 0; i < S::kTokens; i += 16) {
        const bool valid = begin + first + i < p.tokens && skipped + pair < a.angles;
        if (S::kTokens < 16 && first >= S::kTokens) break;
        const char* from = sources.rate + (static_cast<std::int64_t>(begin + i) * a.angles + skipped) * 4;
        copy_async(shared + pair_offset<S>(first + i, panel * 32 + pair), from, valid);
      }
    } else {
      const int pair = p.warp * 8 + p.lane % 8;
#pragma unroll 1
      for (int token = p.lane / 8; token < S::kTokens; token += 4) {
        const bool valid = begin + token < p.tokens && skipped + pair < a.angles;
        const float* from = a.in.rate + (p.first + begin + token) * a.angles + skipped + pair;
        copy_async_word(shared + pair_offset<S>(token, panel * 32 + pair), from, valid);
      }
    }
  }
}

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

/// Where four biases of a panel's tile lie: side by side with those of the other tiles and of the next rank,
/// with which they are read.
__device__ inline int bias_piece(int rank, int tile, int j) {
  return (j * 4 + tile) ^ rank % 2 * 4;
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
        const int turn = turn_offset<S>(token, 2 * mine.tile) ^ j << 4;
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

/// The head's parameters that every chunk needs, to shared memory, zeros where there is no n or rank: the
/// biases in its order of columns; half of mimo_z and mimo_o by pairs of P; mimo_x as spread_values reads it.
template <typename S>
__device__ inline void load_parameters(const Arguments& a, const Place& p, char* shared) {
  constexpr int kWidth = S::kHalves * kColumns;
  for (int i = threadIdx.x; i < 2 * S::kRanks * kWidth; i += kThreads) {
    const int column = i % kWidth, r = i / kWidth % S::kRanks, in_panel = column % kPanel;
    const float* from = i / kWidth < S::kRanks ? a.parameters.B_bias : a.parameters.C_bias;
    const bool valid = column < a.d_state && r < a.rank;
    const int to = i - in_panel + bias_piece(r, in_panel / 16, in_panel % 16 / 4) * 4 + in_panel % 4;
    at<float>(shared, Memory<S>::bias + to * 4) =
        valid ? from[(p.head * a.rank + r) * a.d_state + state_index<S>(column, a.d_state)] : 0;
  }
  if constexpr (S::kMimo) {
    for (int i = threadIdx.x; i < S::kRanks * S::kSlice; i += kThreads) {
      const int r = i / S::kSlice, value = i % S::kSlice;
      const std::int64_t from = (p.head * a.rank + r) * a.headdim + p.slice + value;
      const bool valid = r < a.rank;
      const int gate = Memory<S>::gates + r * Memory<S>::kGatePitch + value / 2 * 16 + value % 2 * 4;
      at<float>(shared, gate) = valid ? 0.5f * a.parameters.mimo_z[from] : 0;
      at<float>(shared, gate + 8) = valid ? a.parameters.mimo_o[from] : 0;
      const int scale = value / 8 * 4 + value % 8 / 4 * (S::kSlice / 2) + value % 4;
      at<float>(shared, Memory<S>::scales + (r * S::kSlice + scale) * 4) =
          valid ? a.parameters.mimo_x[from] : 0;
    }
  }
}

}  // namespace mamba3::cuda::scan
