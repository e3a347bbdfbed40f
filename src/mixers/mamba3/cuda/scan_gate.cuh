// From a chunk's y to its output: the norm over P, the gate, the sum over ranks (spec, step 9).
#pragma once

#include "mixers/mamba3/cuda/scan_inputs.cuh"
#include "mixers/mamba3/cuda/scan_products.cuh"

namespace mamba3::cuda::scan {

/// silu(2 half) = half (1 + tanh(half)); the unit's tanh errs by at most 2^-11, the bf16 output by 2^-9.
__device__ inline float silu_of_half(float half) {
  return fmaf(half, tanh_fast(half), half);
}

/// RMSNorm over P of a lane's two rows.
template <typename S>
__device__ inline void normalize(const Arguments& a, const Place& p, Rows<S>& rows) {
  float squares[2] = {};
#pragma unroll
  for (const float(&tile)[4] : rows.y) {
    squares[0] += tile[0] * tile[0] + tile[1] * tile[1];
    squares[1] += tile[2] * tile[2] + tile[3] * tile[3];
  }
  constexpr float kEpsilon = static_cast<float>(kNormEpsilon);
  float scale[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    squares[r] += __shfl_xor_sync(kAllLanes, squares[r], 1);
    squares[r] += __shfl_xor_sync(kAllLanes, squares[r], 2);
    scale[r] = rsqrtf(squares[r] * (1.0f / S::kSlice) + kEpsilon);
  }
  const float* gain = a.parameters.norm + p.head * a.headdim + p.lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < S::kSlice / 8; ++i) {
    const float first = gain[i * 8], second = gain[i * 8 + 1];
    rows.y[i][0] *= scale[0] * first, rows.y[i][1] *= scale[0] * second;
    rows.y[i][2] *= scale[1] * first, rows.y[i][3] *= scale[1] * second;
  }
}

/// Gates a warp's rows; what is left of each lane's values is one token's output for kValues places of P, or
/// the rows' own for SISO. They take the place of z in shared memory, as bf16.
template <typename S>
__device__ inline void gate(const Place& p, char* shared, Rows<S>& rows) {
  constexpr int kTiles = S::kSlice / 8;
  const int row = p.warp * 16 + p.lane / 4, r = row % S::kRanks;
  const int mine = here(piece_offset(row / S::kRanks, 0)),
            other = here(piece_offset((row + 8) / S::kRanks, 0));
  const auto word = [&](int tile, int i) -> std::uint32_t& {
    return at<std::uint32_t>(shared, Memory<S>::z + p.lane % 4 * 4 + ((i == 0 ? mine : other) ^ tile << 4));
  };
  std::uint32_t gates[kTiles][2];
#pragma unroll
  for (int i = 0; i < kTiles; ++i) gates[i][0] = word(i, 0), gates[i][1] = word(i, 1);
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    float4 scale{0.5f, 0.5f, 1, 1};
    if constexpr (S::kMimo) {
      const int pair = i * 4 + p.lane % 4;
      scale = at<float4>(shared, Memory<S>::gates + r * Memory<S>::kGatePitch + pair * 16);
    }
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float first = low_bf16(gates[i][j]) * scale.x, second = high_bf16(gates[i][j]) * scale.y;
      rows.y[i][2 * j] *= silu_of_half(first) * scale.z;
      rows.y[i][2 * j + 1] *= silu_of_half(second) * scale.w;
    }
  }
  if constexpr (!S::kMimo) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      word(i, 0) = pack_bf16(rows.y[i][0], rows.y[i][1]), word(i, 1) = pack_bf16(rows.y[i][2], rows.y[i][3]);
    }
  } else {
    // Lanes of a token's ranks, 4 apart, halve what each of them sums, until each has its own part.
    int left = kTiles * 4, first = 0;
    float(&values)[kTiles * 4] = reinterpret_cast<float(&)[kTiles * 4]>(rows.y);
#pragma unroll
    for (int step = 1; step < S::kRanks; step *= 2) {
      left /= 2;
      const bool upper = r & step;
      if (upper) first += left;
#pragma unroll
      for (int i = 0; i < kTiles * 4 / 2; ++i) {
        if (i >= left) break;
        const float mine = upper ? values[left + i] : values[i], other = upper ? values[i] : values[left + i];
        values[i] = mine + __shfl_xor_sync(kAllLanes, other, step * 4);
      }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < kTiles * 4 / S::kRanks; i += 2) {
      const int place = (first + i) / 2;
      word(place / 2, place % 2) = pack_bf16(values[i], values[i + 1]);
    }
  }
}

/// A warp's tokens of the chunk that begins at token `begin` of the segment, from shared memory to `out`.
template <typename S>
__device__ inline void store_tokens(const Arguments& a, const Place& p, int begin, char* shared) {
  const TokenPieces<S> mine(p);
  if (!mine.any) return;
  const int width = a.heads * a.headdim;
  __nv_bfloat16* out = a.out + p.first * width + p.head * a.headdim + p.slice + p.lane % mine.kPieces * 8;
  uint4 piece[mine.kEach];
#pragma unroll
  for (int i = 0; i < mine.kEach; ++i) piece[i] = at<uint4>(shared, Memory<S>::z + mine.offset(i));
#pragma unroll
  for (int i = 0; i < mine.kEach; ++i) {
    const int token = begin + mine.token + i * mine.kStep;
    if (token < p.tokens)
      *reinterpret_cast<uint4*>(out + static_cast<std::int64_t>(token) * width) = piece[i];
  }
}

}  // namespace mamba3::cuda::scan
