// A chunk's products on the tensor cores. Accumulators are those of m16n8: a lane has columns 2 (lane % 4)
// and the next, of rows lane / 4 and lane / 4 + 8 of each tile.
#pragma once

#include "core/cuda/mma.cuh"
#include "mixers/mamba3/cuda/scan_block.cuh"

namespace mamba3::cuda::scan {

/// Where a lane's rows lie when four tiles are loaded, in a panel: tiles in the order of rows first, or of
/// pieces first.
struct TileLanes {
  std::uint32_t rows_first, pieces_first;
  __device__ explicit TileLanes(int lane)
      : rows_first(piece_offset(lane % 16, lane / 16)),
        pieces_first(piece_offset(lane / 16 * 8 + lane % 8, lane / 8 % 2)) {}
};

/// A warp's 16 rows of scores [64] and of outputs [kSlice].
template <typename S>
struct Rows {
  float score[kRows / 8][4];
  float y[S::kSlice / 8][4];
};

/// A warp's part of the state, transposed [kSlice, kColumns] a half: 16 values of P, from state_tile 16 on;
/// 8 kTilesN columns, from state_column on.
template <typename S>
struct State {
  float h[S::kHalves][S::kTilesN][4];
};
template <typename S>
__device__ inline int state_tile(const Place& p) {
  return S::kTilesP == 4 ? p.warp : p.warp % S::kTilesP;
}
template <typename S>
__device__ inline int state_column(const Place& p) {
  return S::kTilesP == 4 ? 0 : p.warp / S::kTilesP * S::kTilesN * 8;
}

/// score += q k, y += q h over a half's columns. Keys behind a warp's rows are left out.
template <typename S>
__device__ inline void read_out(const Place& p, std::uint32_t q, std::uint32_t k, std::uint32_t h,
                                Rows<S>& rows) {
  const TileLanes lanes(p.lane);
  q += p.warp * 16 * kRowBytes + lanes.rows_first;
  k += lanes.pieces_first, h += lanes.pieces_first;
#pragma unroll
  for (int step = 0; step < kColumns / 16; ++step) {
    const int panel = step / 4, piece = step % 4 << 5;
    std::uint32_t left[4], right[4];
    load_tiles(left, (q ^ piece) + panel * kKeysPanel);
#pragma unroll
    for (int i = 0; i < kRows / 16; ++i) {
      if (i > p.warp) break;
      load_tiles(right, (k ^ piece) + panel * kKeysPanel + i * 16 * kRowBytes);
      multiply_add(rows.score[2 * i], left, right[0], right[1]);
      multiply_add(rows.score[2 * i + 1], left, right[2], right[3]);
    }
#pragma unroll
    for (int i = 0; i < S::kTilesP; ++i) {
      load_tiles(right, (h ^ piece) + panel * S::kStatePanel + i * 16 * kRowBytes);
      multiply_add(rows.y[2 * i], left, right[0], right[1]);
      multiply_add(rows.y[2 * i + 1], left, right[2], right[3]);
    }
  }
}

/// Two neighbouring tiles of scores as a left operand.
__device__ inline void pack_scores(const float (&first)[4], const float (&second)[4],
                                   std::uint32_t (&left)[4]) {
  left[0] = pack_bf16(first[0], first[1]), left[1] = pack_bf16(first[2], first[3]);
  left[2] = pack_bf16(second[0], second[1]), left[3] = pack_bf16(second[2], second[3]);
}

/// y += score v, score as bf16.
template <typename S>
__device__ inline void add_values(const Place& p, std::uint32_t v, Rows<S>& rows) {
  v += TileLanes(p.lane).rows_first;
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    if (step > p.warp) break;
    std::uint32_t left[4], right[4];
    pack_scores(rows.score[2 * step], rows.score[2 * step + 1], left);
#pragma unroll
    for (int i = 0; i < S::kTilesP; ++i) {
      load_tiles_transposed(right, (v ^ i << 5) + step * 16 * kRowBytes);
      multiply_add(rows.y[2 * i], left, right[0], right[1]);
      multiply_add(rows.y[2 * i + 1], left, right[2], right[3]);
    }
  }
}

/// (weight v)^T for 16 rows, the left operand of what keys add to the state.
template <typename S>
__device__ inline void load_weighed_values(const Place& p, int step, std::uint32_t v, char* shared,
                                           std::uint32_t (&left)[4]) {
  v += TileLanes(p.lane).pieces_first ^ state_tile<S>(p) << 5;
  load_tiles_transposed(left, v + step * 16 * kRowBytes);
  const int weight = Memory<S>::weight + step * 32 + p.lane % 4 * 4;
  const std::uint32_t low = at<std::uint32_t>(shared, weight), high = at<std::uint32_t>(shared, weight + 16);
  left[0] = multiply_bf16(left[0], low), left[1] = multiply_bf16(left[1], low);
  left[2] = multiply_bf16(left[2], high), left[3] = multiply_bf16(left[3], high);
}

template <typename S>
__device__ inline void decay_state(float decay, float (&h)[S::kTilesN][4]) {
#pragma unroll
  for (float(&tile)[4] : h) {
#pragma unroll
    for (float& value : tile) value *= decay;
  }
}

/// h += (weight v)^T k over a half's columns.
template <typename S>
__device__ inline void add_keys(const Place& p, std::uint32_t k, std::uint32_t v, char* shared,
                                float (&h)[S::kTilesN][4]) {
  const int first = state_column<S>(p) / 16;
  k += TileLanes(p.lane).rows_first;
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    std::uint32_t left[4], right[4];
    load_weighed_values<S>(p, step, v, shared, left);
#pragma unroll
    for (int i = 0; i < S::kTilesN / 2; ++i) {
      const int tile = first + i;
      load_tiles_transposed(right, (k ^ tile % 4 << 5) + tile / 4 * kKeysPanel + step * 16 * kRowBytes);
      multiply_add(h[2 * i], left, right[0], right[1]);
      multiply_add(h[2 * i + 1], left, right[2], right[3]);
    }
  }
}

/// The state of a half, as bf16, to shared memory.
template <typename S>
__device__ inline void share_state(const Place& p, const float (&h)[S::kTilesN][4], char* shared) {
  const int first = state_column<S>(p) / 8;
  const int mine = here(piece_offset(state_tile<S>(p) * 16 + p.lane / 4, 0) + p.lane % 4 * 4);
#pragma unroll
  for (int i = 0; i < S::kTilesN; ++i) {
    const int tile = first + i;
    const int offset = Memory<S>::h + tile / 8 * S::kStatePanel + (mine ^ tile % 8 << 4);
    at<std::uint32_t>(shared, offset) = pack_bf16(h[i][0], h[i][1]);
    at<std::uint32_t>(shared, offset + 8 * kRowBytes) = pack_bf16(h[i][2], h[i][3]);
  }
}

/// Scores times weights and decays, zero where the key's token lies behind the query's; D on the diagonal,
/// for v itself. y times its row's decay from the chunk's start. Without branches, which would make the
/// products of warp groups wait for each other.
template <typename S>
__device__ inline void weigh(const Place& p, float D, char* shared, Rows<S>& rows) {
  constexpr float kNever = -1.0f / 0.0f;
  const int row = here(p.lane / 4), column = p.lane % 4 * 2, warp = here(p.warp);
  float upto[2], own[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int token = (p.warp * 16 + r * 8 + row) / S::kRanks;
    upto[r] = at<float>(shared, Memory<S>::reach + token * 4),
    own[r] = at<float>(shared, Memory<S>::own + token * 4);
  }
#pragma unroll
  for (int i = 0; i < kRows / 8; ++i) {
    // Of 16 rows and 16 columns on the diagonal, two quarters of 8 x 8 lie on it themselves.
    const bool earlier = i / 2 < warp, now = i / 2 == warp;
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int other = (column + j) / S::kRanks, mine = row / S::kRanks;
      const float key = at<float>(shared, Memory<S>::key + (i * 8 + column + j) / S::kRanks * 4);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float& score = rows.score[i][2 * r + j];
        const bool on_diagonal = r == i % 2;
        const bool visible = earlier | (now & (on_diagonal ? other < mine : r > i % 2));
        float weight = exp2_fast((visible ? upto[r] : kNever) - key);
        if (on_diagonal) weight = now & (other == mine) ? own[r] : weight;
        score *= weight;
        if (on_diagonal) score += now & (column + j == row) ? D : 0;
      }
    }
  }
  const float decay[2] = {exp2_fast(upto[0]), exp2_fast(upto[1])};
#pragma unroll
  for (float(&tile)[4] : rows.y) {
    tile[0] *= decay[0], tile[1] *= decay[0], tile[2] *= decay[1], tile[3] *= decay[1];
  }
}

}  // namespace mamba3::cuda::scan
