// What a chunk needs of a layer's inputs, on its way to shared memory while the chunk before is finished.
#pragma once

#include "core/cuda/mma.cuh"
#include "mixers/mamba3/cuda/scan_block.cuh"

namespace mamba3::cuda::scan {

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

/// A lane's 16 bytes of every kStep-th of a warp's tokens, in panels of x, z and outputs.
template <typename S>
struct TokenPieces {
  static constexpr int kPieces = S::kSlice / 8, kStep = 32 / kPieces, kCount = S::kTokens / 4;
  static constexpr int kEach = kCount > kStep ? kCount / kStep : 1;
  int token, first;
  bool any;

  __device__ explicit TokenPieces(const Place& p)
      : token(p.warp * kCount + p.lane / kPieces),
        first(here(piece_offset(token, p.lane % kPieces))),
        any(kCount >= kStep || p.lane / kPieces < kCount) {}
  /// kStep divides 8, and a warp's tokens begin at a multiple of it: the permutation splits.
  __device__ int offset(int i) const { return (first ^ i * kStep % 8 << 4) + i * kStep * kRowBytes; }
};

/// Starts to copy x or z of a warp's tokens.
template <typename S>
__device__ inline void fetch_tokens(const Arguments& a, const Place& p, int begin, const char* from,
                                    std::uint32_t to) {
  const TokenPieces<S> mine(p);
  if (!mine.any) return;
#pragma unroll
  for (int i = 0; i < mine.kEach; ++i) {
    const int token = begin + mine.token + i * mine.kStep;
    copy_async(to + mine.offset(i), from + static_cast<std::int64_t>(token) * a.zx_bytes, token < p.tokens);
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

/// Tokens from which on a chunk's pieces of angles are permuted otherwise.
template <typename S>
constexpr int kApart = S::kTokens / 4 > 8 ? S::kTokens / 4 : 8;

/// How the pieces of a token's angles are permuted: by the token, as those of rows are, and so that the
/// quarters of a chunk's tokens, which are written together, differ as well.
template <typename S>
__device__ inline int turn_offset(int token, int piece) {
  return token * kRowBytes + ((piece ^ token % 8 ^ token / kApart<S> * 2) << 4);
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
      const int to = here(pair_offset<S>(first, panel * 32 + pair));
#pragma unroll
      for (int i = 0; i < S::kTokens; i += 16) {
        const bool valid = begin + first + i < p.tokens && skipped + pair < a.angles;
        if (S::kTokens < 16 && first >= S::kTokens) break;
        const char* from = sources.rate + (static_cast<std::int64_t>(begin + i) * a.angles + skipped) * 4;
        copy_async(shared + (to ^ i / kApart<S> * 2 << 4) + i * kRowBytes, from, valid);
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

/// Where four biases of a panel's tile lie: side by side with those of the other tiles and of the next rank,
/// with which they are read.
__device__ inline int bias_piece(int rank, int tile, int j) {
  return (j * 4 + tile) ^ rank % 2 * 4;
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
