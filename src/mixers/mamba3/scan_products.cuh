// A chunk's products on the tensor cores. Accumulators are those of m16n8: a lane has columns 2 (lane % 4)
// and the next, of rows lane / 4 and lane / 4 + 8 of each tile.
#pragma once

#include "core/cuda/mma.cuh"
#include "mixers/mamba3/scan_block.cuh"

namespace mamba3::cuda::scan {

/// Where a lane's rows lie when four tiles are loaded, in a panel: tiles in the order of rows first, or of
/// pieces first.
struct TileLanes {
  std::uint32_t rows_first, pieces_first;
  __device__ explicit TileLanes(int lane)
      : rows_first(piece_address(0, lane % 16, lane / 16)),
        pieces_first(piece_address(0, lane / 16 * 8 + lane % 8, lane / 8 % 2)) {}
};

/// A warp's 16 rows of scores [64] and of outputs [kSlice].
template <typename S>
struct Rows {
  float score[kRows / 8][4];
  float y[S::kSlice / 8][4];
};

/// A warp's part of the state, transposed [kSlice, kColumns] a half: 16 values of P, from `tile` 16 on; 8
/// kTilesN columns from `column` on.
template <typename S>
struct State {
  float h[S::kHalves][S::kTilesN][4];
};
template <typename S>
__device__ inline int state_tile(const Place& p) {
  return p.row_warp % S::kTilesP;
}
template <typename S>
__device__ inline int state_column(const Place& p) {
  return p.row_warp / S::kTilesP * S::kTilesN * 8;
}

/// score += q k, y += q h over a half's columns. Keys behind a warp's rows are left out.
template <typename S>
__device__ inline void read_out(const Place& p, const TileLanes& lanes, std::uint32_t q, std::uint32_t k,
                                std::uint32_t h, Rows<S>& rows) {
  q += p.row_warp * 16 * kRowBytes + lanes.rows_first;
  k += lanes.pieces_first, h += lanes.pieces_first;
#pragma unroll
  for (int step = 0; step < kColumns / 16; ++step) {
    const int panel = step / 4, piece = step % 4 << 5;
    std::uint32_t left[4], right[4];
    load_tiles(left, (q ^ piece) + panel * kKeysPanel);
#pragma unroll
    for (int i = 0; i < kRows / 16; ++i) {
      if (i > p.row_warp) break;
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

/// y += score v, score as bf16.
template <typename S>
__device__ inline void add_values(const Place& p, const TileLanes& lanes, std::uint32_t v, Rows<S>& rows) {
  v += lanes.rows_first;
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    if (step > p.row_warp) break;
    const float(&first)[4] = rows.score[2 * step], (&second)[4] = rows.score[2 * step + 1];
    const std::uint32_t left[4] = {pack_bf16(first[0], first[1]), pack_bf16(first[2], first[3]),
                                   pack_bf16(second[0], second[1]), pack_bf16(second[2], second[3])};
#pragma unroll
    for (int i = 0; i < S::kTilesP; ++i) {
      std::uint32_t right[4];
      load_tiles_transposed(right, (v ^ i << 5) + step * 16 * kRowBytes);
      multiply_add(rows.y[2 * i], left, right[0], right[1]);
      multiply_add(rows.y[2 * i + 1], left, right[2], right[3]);
    }
  }
}

/// h = decay h + (weight v)^T k over a half's columns. `weight`: bf16, one a row.
template <typename S>
__device__ inline void add_keys(const Place& p, const TileLanes& lanes, float decay, std::uint32_t weight,
                                std::uint32_t k, std::uint32_t v, float (&h)[S::kTilesN][4]) {
  const int first = state_column<S>(p) / 16;
  v += lanes.pieces_first ^ state_tile<S>(p) << 5, k += lanes.rows_first;
  weight += p.lane % 4 * 4;
#pragma unroll
  for (int i = 0; i < S::kTilesN; ++i) {
#pragma unroll
    for (float& value : h[i]) value *= decay;
  }
#pragma unroll
  for (int step = 0; step < kRows / 16; ++step) {
    std::uint32_t left[4], right[4];
    load_tiles_transposed(left, v + step * 16 * kRowBytes);
    const std::uint32_t low = load_word(weight + step * 32), high = load_word(weight + step * 32 + 16);
    left[0] = multiply_bf16(left[0], low), left[1] = multiply_bf16(left[1], low);
    left[2] = multiply_bf16(left[2], high), left[3] = multiply_bf16(left[3], high);
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
__device__ inline void share_state(const Place& p, std::uint32_t to, const float (&h)[S::kTilesN][4]) {
  const int row = state_tile<S>(p) * 16 + p.lane / 4, first = state_column<S>(p) / 8;
#pragma unroll
  for (int i = 0; i < S::kTilesN; ++i) {
    const int tile = first + i;
    const std::uint32_t at = piece_address(to + tile / 8 * S::kStatePanel, row, tile % 8) + p.lane % 4 * 4;
    store_word(at, pack_bf16(h[i][0], h[i][1]));
    store_word(at + 8 * kRowBytes, pack_bf16(h[i][2], h[i][3]));
  }
}

/// Scores times weights and decays, zero where the key's token lies behind the query's; D on the diagonal,
/// for v itself. y times its row's decay from the chunk's start.
template <typename S>
__device__ inline void weigh(const Place& p, const SharedMap& map, const char* shared, float D,
                             Rows<S>& rows) {
  const float* reach = reinterpret_cast<const float*>(shared + map.reach);
  const float* key = reinterpret_cast<const float*>(shared + map.key);
  const float* own = reinterpret_cast<const float*>(shared + map.own);
  const int row = p.row_warp * 16 + p.lane / 4;
  const float upto[2] = {reach[row / S::kRanks], reach[(row + 8) / S::kRanks]};
#pragma unroll
  for (int i = 0; i < kRows / 8; ++i) {
    if (i / 2 > p.row_warp) break;
    const bool diagonal = i / 2 == p.row_warp;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int column = i * 8 + p.lane % 4 * 2 + j % 2, token = column / S::kRanks;
      float weight = exp2_fast(upto[j / 2] - key[token]);
      if (diagonal) {
        const int mine = row + j / 2 * 8;
        weight = token < mine / S::kRanks ? weight : token == mine / S::kRanks ? own[token] : 0;
        rows.score[i][j] = rows.score[i][j] * weight + (column == mine ? D : 0);
      } else {
        rows.score[i][j] *= weight;
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
