// From a chunk's y to its output: the norm over P, the gate, the sum over ranks (spec, step 9).
#pragma once

#include "mixers/mamba3/scan_inputs.cuh"
#include "mixers/mamba3/scan_products.cuh"

namespace mamba3::cuda::scan {

__device__ inline float silu(float v) {
  return v * sigmoid(v);
}

/// RMSNorm over P of a lane's two rows. Warp groups share their sums of squares.
template <typename S>
__device__ inline void normalize(const Arguments& a, const Place& p, const SharedMap& map, char* shared,
                                 Rows<S>& rows) {
  float squares[2] = {};
#pragma unroll
  for (const float(&tile)[4] : rows.y) {
    squares[0] += tile[0] * tile[0] + tile[1] * tile[1];
    squares[1] += tile[2] * tile[2] + tile[3] * tile[3];
  }
  float* all = reinterpret_cast<float*>(shared + map.squares) + p.row_warp * 16 + p.lane / 4;
  const int slices = p.threads / kGroupThreads;
  for (int half = 0; half < 2; ++half) {
    squares[half] += __shfl_xor_sync(kAllLanes, squares[half], 1);
    squares[half] += __shfl_xor_sync(kAllLanes, squares[half], 2);
    if (slices > 1 && p.lane % 4 == 0) all[p.slice * kRows + half * 8] = squares[half];
  }
  if (slices > 1) {
    __syncthreads();
    for (int half = 0; half < 2; ++half) {
      squares[half] = 0;
      for (int slice = 0; slice < slices; ++slice) squares[half] += all[slice * kRows + half * 8];
    }
  }
  constexpr float kEpsilon = static_cast<float>(kNormEpsilon);
  const float scale[2] = {rsqrtf(squares[0] / a.headdim + kEpsilon),
                          rsqrtf(squares[1] / a.headdim + kEpsilon)};
  const float* gain = a.parameters.norm + p.head * a.headdim + p.slice * S::kSlice + p.lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < S::kSlice / 8; ++i) {
    const float first = gain[i * 8], second = gain[i * 8 + 1];
    rows.y[i][0] *= scale[0] * first, rows.y[i][1] *= scale[0] * second;
    rows.y[i][2] *= scale[1] * first, rows.y[i][3] *= scale[1] * second;
  }
}

/// Over the ranks of a token, which neighbouring rows of the same tile hold.
template <typename S>
__device__ inline float sum_ranks(float v) {
#pragma unroll
  for (int r = 1; r < S::kRanks; r *= 2) v += __shfl_xor_sync(kAllLanes, v, r * 4);
  return v;
}

/// Gates a warp's rows; the outputs take the place of z in shared memory (of this warp group's panel), bf16.
template <typename S>
__device__ inline void gate(const Arguments& a, const Place& p, std::uint32_t z, const Rows<S>& rows) {
  const int row = p.row_warp * 16 + p.lane / 4, r = row % S::kRanks;
  const int from = (p.head * a.rank + r) * a.headdim + p.slice * S::kSlice + p.lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < S::kSlice / 8; ++i) {
    float2 scale_z{1, 1}, scale_o{1, 1};
    if (S::kMimo) {
      scale_z = scale_o = {0, 0};
      if (r < a.rank) {
        scale_z = *reinterpret_cast<const float2*>(a.parameters.mimo_z + from + i * 8);
        scale_o = *reinterpret_cast<const float2*>(a.parameters.mimo_o + from + i * 8);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int token = (row + half * 8) / S::kRanks;
      const std::uint32_t at = piece_address(z, token, i) + p.lane % 4 * 4;
      const std::uint32_t word = load_word(at);
      float first = rows.y[i][2 * half] * silu(low_bf16(word) * scale_z.x) * scale_o.x;
      float second = rows.y[i][2 * half + 1] * silu(high_bf16(word) * scale_z.y) * scale_o.y;
      first = sum_ranks<S>(first), second = sum_ranks<S>(second);
      __syncwarp();
      if (r == 0) store_word(at, pack_bf16(first, second));
    }
  }
}

/// A warp's tokens of the chunk that begins at token `at` of the segment, from shared memory to `out`.
template <typename S>
__device__ inline void store_tokens(const Arguments& a, const Place& p, int at, std::uint32_t from) {
  constexpr int kPieces = S::kSlice / 8, kTokens = S::kTokens / 4;
  __nv_bfloat16* out = a.out + static_cast<std::int64_t>(p.head) * a.headdim + p.slice * S::kSlice;
  for (int i = p.lane; i < kTokens * kPieces; i += 32) {
    const int token = p.row_warp * kTokens + i / kPieces, piece = i % kPieces;
    if (at + token >= p.tokens) continue;
    const std::int64_t row = (p.first + at + token) * a.heads * a.headdim;
    *reinterpret_cast<uint4*>(out + row + piece * 8) = load_words(piece_address(from, token, piece));
  }
}

}  // namespace mamba3::cuda::scan
