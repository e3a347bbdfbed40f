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

/// An angle in turns, to [-1/2, 1/2].
__device__ inline float wrap_turns(float turns) {
  return turns - rintf(turns);
}

__device__ inline float sigmoid(float v) {
  return reciprocal_fast(1 + exp2_fast(-kLog2E * v));
}

// Rows and columns a thread brings, biases and rotates: 16 columns of every (threads / 4)-th row. Eight lanes
// that access memory together hold four tiles of two neighbouring rows, whose pieces fill all banks.
struct RowTiles {
  int tile, row, step;
  __device__ explicit RowTiles(const Place& p)
      : tile(threadIdx.x % 4), row(threadIdx.x / 4), step(p.threads / 4) {}
};

/// Starts to copy rows of B or C of the chunk that begins at token `at` of the segment, columns of half
/// `half`.
template <typename S>
__device__ inline void fetch_rows(const Arguments& a, const Place& p, int at, int half,
                                  const __nv_bfloat16* from, std::uint32_t to) {
  const RowTiles mine(p);
  const int r = mine.row % S::kRanks;
  for (int row = mine.row; row < kRows; row += mine.step) {
    const int token = at + row / S::kRanks;
    const __nv_bfloat16* values =
        from + (p.first + token) * a.in.bc_stride + (r * a.ngroups + p.group) * a.d_state;
    for (int panel = 0; panel < 2; ++panel) {
      const int column = half * kColumns + panel * kPanel + mine.tile * 16;
      const bool valid = token < p.tokens && r < a.rank && column < a.d_state;
      const int first = S::kMimo ? column / 2 : column;
      const int second = S::kMimo ? first + a.d_state / 2 : first + 8;
      const std::uint32_t base = to + panel * kKeysPanel;
      copy_async(piece_address(base, row, 2 * mine.tile), valid ? values + first : from, valid);
      copy_async(piece_address(base, row, 2 * mine.tile + 1), valid ? values + second : from, valid);
    }
  }
}

/// Starts to copy tokens' x or z: `rows` rows from `row` on, by `lanes` threads of which this is `lane`.
template <typename S>
__device__ inline void fetch_tokens(const Arguments& a, const Place& p, int at, int row, int rows, int lane,
                                    int lanes, const __nv_bfloat16* from, std::uint32_t to) {
  constexpr int kPieces = S::kSlice / 8;
  const __nv_bfloat16* values = from + p.head * a.headdim + p.slice * S::kSlice;
  for (int i = lane; i < rows * kPieces; i += lanes) {
    const int token = row + i / kPieces, piece = i % kPieces;
    const bool valid = at + token < p.tokens;
    copy_async(piece_address(to, token, piece),
               valid ? values + (p.first + at + token) * a.in.zx_stride + piece * 8 : from, valid);
  }
}

/// A chunk's decays and weights; lane l has tokens kEach l and on. All warps compute the same.
template <typename S>
struct Dynamics {
  static constexpr int kEach = S::kTokens > 32 ? S::kTokens / 32 : 1;
  float dt[kEach];
  float log_alpha[kEach];  ///< base 2
  float own[kEach];        ///< lambda dt: weight of a token's k v in its own state
  float given[kEach];      ///< own, and (1 - lambda) dt of the token behind it: weight in later states

  __device__ Dynamics(const Arguments& a, const Place& p, int at) {
    for (int i = 0; i < kEach; ++i) {
      const int token = p.lane * kEach + i;
      const bool valid = token < S::kTokens && at + token < p.tokens;
      const std::int64_t from = (p.first + at + token) * a.heads + p.head;
      dt[i] = valid ? a.in.dt[from] : 0;
      log_alpha[i] = valid ? fmaxf(a.in.adt[from] * kLog2E, kLeastLog2) : 0;
      own[i] = valid ? sigmoid(a.in.trap[from]) * dt[i] : 0;
      const bool followed = valid && at + token + 1 < p.rest;
      const float dt_behind = followed ? a.in.dt[from + a.heads] : 0;
      given[i] = own[i] + (followed ? sigmoid(-a.in.trap[from + a.heads]) * dt_behind : 0);
    }
  }

  /// dt of a token of the chunk; `i` of the token's place in its lane.
  __device__ float dt_of(int token, int i) const {
    return __shfl_sync(kAllLanes, dt[i % kEach], token / kEach);
  }

  /// Logarithms become sums over the chunk's tokens up to each; returns that over all.
  __device__ float accumulate(int lane) {
    for (int i = 1; i < kEach; ++i) log_alpha[i] += log_alpha[i - 1];
    const float mine = log_alpha[kEach - 1];
    float upto = mine;
    for (int step = 1; step < 32; step *= 2) {
      const float before = __shfl_up_sync(kAllLanes, upto, step);
      if (lane >= step) upto += before;
    }
    for (int i = 0; i < kEach; ++i) log_alpha[i] += upto - mine;
    return __shfl_sync(kAllLanes, upto, 31);
  }

  /// For token t: reach = log2 of the decay from the chunk's start through t; key = what is taken off a later
  /// token's reach for log2 of t's weight there; weight, bf16, is t's in the chunk's end, once a row.
  __device__ void publish(const SharedMap& map, char* shared, int lane, float end) const {
    for (int i = 0; i < kEach; ++i) {
      const int token = lane * kEach + i;
      if (token >= S::kTokens) break;
      const float key = log_alpha[i] - log2_fast(given[i]);
      reinterpret_cast<float*>(shared + map.reach)[token] = log_alpha[i];
      reinterpret_cast<float*>(shared + map.key)[token] = key;
      reinterpret_cast<float*>(shared + map.own)[token] = own[i];
      const __nv_bfloat16 weight = __float2bfloat16(exp2_fast(end - key));
      for (int r = 0; r < S::kRanks; ++r) {
        reinterpret_cast<__nv_bfloat16*>(shared + map.weight)[token * S::kRanks + r] = weight;
      }
    }
  }
};

/// Cosines and sines of a chunk's angles, of the pairs of half `half`; theta (turns) moves on by the chunk. A
/// warp takes eight pairs at a time: four lanes a pair, each a quarter of the tokens.
template <typename S>
__device__ inline void turn_angles(const Arguments& a, const Place& p, const SharedMap& map, char* shared,
                                   int at, int half, const Dynamics<S>& dynamics) {
  constexpr int kEach = S::kTokens / 4;
  const int quarter = p.lane / 8, pitch = SharedMap::turn_pitch(a.angles);
  const int begin = half * kColumns / 2, end = min(a.angles, begin + kColumns / 2);
  for (int first = begin + p.warp * 8; first < end; first += p.threads / 32 * 8) {
    const int pair = first + p.lane % 8;
    const float* rate = a.in.rate + (p.first + at) * a.angles + pair;
    float turns[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int token = quarter * kEach + i;
      const bool valid = pair < end && at + token < p.tokens;
      turns[i] = valid ? rate[static_cast<std::int64_t>(token) * a.angles] * kInverseTwoPi : 0;
    }
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      turns[i] = turns[i] * dynamics.dt_of(quarter * kEach + i, i) + (i > 0 ? turns[i - 1] : 0);
    }
    float upto = turns[kEach - 1];
    for (int step = 8; step < 32; step *= 2) {
      const float before = __shfl_up_sync(kAllLanes, upto, step);
      if (p.lane >= step) upto += before;
    }
    float* theta = reinterpret_cast<float*>(shared + map.theta) + pair;
    const float start = *theta, offset = start + (upto - turns[kEach - 1]);
    __syncwarp();
    if (quarter == 3) *theta = wrap_turns(start + upto);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int token = quarter * kEach + i, at_pair = pair - begin;
      const float angle = wrap_turns(offset + turns[i]) * kTwoPi;
      char* to = shared + map.turns + token * pitch + ((at_pair / 4 ^ token % 8) << 4) + at_pair % 4 * 4;
      *reinterpret_cast<__half2*>(to) = __floats2half2_rn(__cosf(angle), __sinf(angle));
    }
  }
}

/// Eight pairs, two words each of 16 bytes, with their bias, turned where `rotates`. For MIMO the first
/// values of the pairs lie in the first piece; packed pairs come out.
template <typename S>
__device__ inline void turn_pairs(const uint4 (&raw)[2], const float2 (&bias)[8], bool rotates,
                                  const uint4 (&turns)[2], uint4 (&out)[2]) {
  const std::uint32_t* in = &raw[0].x;
  const __half2* turn = reinterpret_cast<const __half2*>(&turns[0].x);
  std::uint32_t* to = &out[0].x;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float first, second;
    if (S::kMimo) {
      first = i % 2 == 0 ? low_bf16(in[i / 2]) : high_bf16(in[i / 2]);
      second = i % 2 == 0 ? low_bf16(in[4 + i / 2]) : high_bf16(in[4 + i / 2]);
    } else {
      first = low_bf16(in[i]), second = high_bf16(in[i]);
    }
    first += bias[i].x, second += bias[i].y;
    if (rotates) {
      const float2 t = __half22float2(turn[i]);
      const float turned = first * t.x - second * t.y;
      second = first * t.y + second * t.x;
      first = turned;
    }
    to[i] = pack_bf16(first, second);
  }
}

/// Biases and rotates the rows this thread has brought to `rows`, in place. `bias` lies in shared memory,
/// [kRanks, kHalves kColumns], in shared memory's order of columns.
template <typename S>
__device__ inline void turn_rows(const Arguments& a, const Place& p, const SharedMap& map, const char* shared,
                                 std::uint32_t base, int half, const float* bias, std::uint32_t rows) {
  const RowTiles mine(p);
  const int pitch = SharedMap::turn_pitch(a.angles);
#pragma unroll
  for (int panel = 0; panel < 2; ++panel) {
    const int column = half * kColumns + panel * kPanel + mine.tile * 16;
    const bool rotates = column / 2 < a.angles;
    const float4* from =
        reinterpret_cast<const float4*>(bias + mine.row % S::kRanks * S::kHalves * kColumns + column);
    float2 add[8];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float4 four = from[i];
      add[2 * i] = {four.x, four.y}, add[2 * i + 1] = {four.z, four.w};
    }
    for (int row = mine.row; row < kRows; row += mine.step) {
      const int token = row / S::kRanks, piece = panel * 8 + mine.tile * 2;
      const std::uint32_t at = rows + panel * kKeysPanel;
      const std::uint32_t to[2] = {piece_address(at, row, 2 * mine.tile),
                                   piece_address(at, row, 2 * mine.tile + 1)};
      const uint4 raw[2] = {load_words(to[0]), load_words(to[1])};
      uint4 turns[2] = {}, turned[2];
      if (rotates) {
        const std::uint32_t turn = base + map.turns + token * pitch;
        turns[0] = load_words(turn + ((piece ^ token % 8) << 4));
        turns[1] = load_words(turn + ((piece + 1 ^ token % 8) << 4));
      }
      turn_pairs<S>(raw, add, rotates, turns, turned);
      store_words(to[0], turned[0]), store_words(to[1], turned[1]);
    }
  }
}

/// MIMO's values: x of a row's token times mimo_x of its rank, for this warp group's slice.
template <typename S>
__device__ inline void spread_values(const Arguments& a, const Place& p, std::uint32_t x, std::uint32_t v) {
  constexpr int kPieces = S::kSlice / 8;
  const int thread = threadIdx.x % kGroupThreads, piece = thread % kPieces, r = thread / kPieces % S::kRanks;
  float scale[8] = {};
  if (r < a.rank) {
    const float* from =
        a.parameters.mimo_x + (p.head * a.rank + r) * a.headdim + p.slice * S::kSlice + piece * 8;
    for (int i = 0; i < 8; ++i) scale[i] = from[i];
  }
  for (int row = thread / kPieces; row < kRows; row += kGroupThreads / kPieces) {
    const uint4 raw = load_words(piece_address(x, row / S::kRanks, piece));
    const std::uint32_t in[4] = {raw.x, raw.y, raw.z, raw.w};
    std::uint32_t out[4];
    for (int i = 0; i < 4; ++i) {
      out[i] = pack_bf16(low_bf16(in[i]) * scale[2 * i], high_bf16(in[i]) * scale[2 * i + 1]);
    }
    store_words(piece_address(v, row, piece), {out[0], out[1], out[2], out[3]});
  }
}

/// Both biases of the head, to shared memory, in its order of columns; zeros where there is no n or rank.
template <typename S>
__device__ inline void load_biases(const Arguments& a, const Place& p, const SharedMap& map, char* shared) {
  constexpr int kWidth = S::kHalves * kColumns;
  float* to = reinterpret_cast<float*>(shared + map.bias);
  for (int i = threadIdx.x; i < 2 * S::kRanks * kWidth; i += p.threads) {
    const int column = i % kWidth, r = i / kWidth % S::kRanks;
    const float* from = i / kWidth < S::kRanks ? a.parameters.B_bias : a.parameters.C_bias;
    const bool valid = column < a.d_state && r < a.rank;
    to[i] = valid ? from[(p.head * a.rank + r) * a.d_state + state_index<S>(column, a.d_state)] : 0;
  }
}

}  // namespace mamba3::cuda::scan
