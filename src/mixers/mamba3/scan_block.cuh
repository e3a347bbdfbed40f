// What a block of the scan works on: its arguments, its piece of a sequence, its shared memory.
//
// A block walks a segment of a sequence for one head, 64 rows at a time: a row is a token and a rank. A warp
// group (four warps) takes kSlice values of P. q, k and the state meet in shared memory as bf16, kColumns of
// N at a time, in panels of rows of 128 bytes whose 16-byte pieces are permuted (piece i of row r lies at
// i ^ r % 8), so that tiles are read without conflicts.
//
// Columns of N lie there in an order in which the two values of a pair that rotates together are neighbours:
// for SISO as they are, for MIMO column 2 s + b is n = s + b N / 2.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "mixers/mamba3/scan_cuda.h"

namespace mamba3::cuda::scan {

constexpr int kRows = 64;       // of a chunk
constexpr int kColumns = 128;   // of N in shared memory at a time
constexpr int kPanel = 64;      // columns of a panel: 128 bytes
constexpr int kRowBytes = 128;  // of a panel
constexpr int kGroupThreads = 128;
constexpr int kKeysPanel = kRows * kRowBytes;  // bytes of a panel of q, k, v or z

/// What the compiler knows of a shape. Ranks are padded to 2, 4 or 8, with zeros; 1 is SISO.
template <int Halves, int Slice, int Ranks>
struct Shape {
  static constexpr int kHalves = Halves;  ///< N is at most kHalves kColumns
  static constexpr int kSlice = Slice;    ///< values of P of a warp group: 32 or 64
  static constexpr int kRanks = Ranks;
  static constexpr bool kMimo = Ranks > 1;
  static constexpr int kTokens = kRows / Ranks;               ///< of a chunk
  static constexpr int kTilesP = Slice / 16;                  ///< of a slice
  static constexpr int kTilesN = kColumns * Slice / 16 / 32;  ///< 8 columns each, of a warp and half
  static constexpr int kStatePanel = Slice * kRowBytes;       ///< bytes
};

struct Arguments {
  ScanInput in;
  ScanParameters parameters;
  __nv_bfloat16* out;
  const std::int32_t* cu_seqlens;
  float* const* states;
  std::int64_t state_offset;
  int heads, headdim, d_state, rank, ngroups, angles;
  int segment;  ///< tokens, a multiple of every chunk
  // Partial states, where a sequence has several segments: slot 0 its start, slot j + 1 what segment j adds.
  float* slots;
  std::int64_t slot_size;  ///< floats of one head
  // Mamba3Layout
  std::int64_t theta, start, h, tokens, head_tokens, token;
  int wide_n, wide_p;
};

/// Bytes from the start of shared memory.
struct SharedMap {
  int q, k, h, v, z, turns, bias, key, reach, own, weight, theta, squares, size;

  __host__ __device__ SharedMap(int groups, int slice, int ranks, int d_state, int angles) {
    int end = 0;
    const auto next = [&end](int bytes) {
      const int at = end;
      end += (bytes + 15) / 16 * 16;
      return at;
    };
    const int tokens = kRows / ranks;
    q = next(2 * kKeysPanel), k = next(2 * kKeysPanel);
    h = next(2 * groups * slice * kRowBytes);
    v = next(groups * kKeysPanel);
    z = next(groups * kKeysPanel);
    turns = next(tokens * turn_pitch(angles));
    bias = next(2 * ranks * ((d_state + kColumns - 1) / kColumns) * kColumns * 4);
    key = next(tokens * 4), reach = next(tokens * 4), own = next(tokens * 4);
    weight = next(kRows * 2);
    theta = next(round_up(angles, 8) * 4);
    squares = next(groups > 1 ? groups * kRows * 4 : 0);
    size = end;
  }

  __host__ __device__ static int round_up(int n, int unit) { return (n + unit - 1) / unit * unit; }
  /// Bytes of a token's cosines and sines: half2, of the pairs that lie in shared memory at a time.
  __host__ __device__ static int turn_pitch(int angles) {
    return round_up(angles < kColumns / 2 ? angles : kColumns / 2, 32) * 4;
  }
};

/// A block's piece of the work, and a thread's place in it.
struct Place {
  int head, group;      ///< of B and C
  int sequence, index;  ///< of the segment in its sequence
  std::int64_t first;   ///< the segment's first token among all
  int tokens;           ///< of the segment; not above 0: there is none
  int rest;             ///< tokens of the sequence from the segment's first on
  int before;           ///< tokens of the sequence before the segment
  std::int64_t slot;    ///< the sequence's slot 0

  int threads, warp, lane;  ///< warp: of the block
  int slice, row_warp;      ///< warp group, and warp of the group

  __device__ explicit Place(const Arguments& a)
      : head(blockIdx.x), group(head / (a.heads / a.ngroups)), sequence(blockIdx.z), index(blockIdx.y) {
    const int begin = a.cu_seqlens[sequence], end = a.cu_seqlens[sequence + 1];
    before = index * a.segment;
    rest = end - begin - before;
    first = static_cast<std::int64_t>(begin) + before;
    tokens = min(rest, a.segment);
    // Sequences are shorter than the tokens before their ends: no two have a slot in common.
    slot = begin / a.segment + sequence;
    threads = blockDim.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    slice = warp / 4, row_warp = warp % 4;
  }
  __device__ bool is_first() const { return index == 0; }
  __device__ bool is_last() const { return rest == tokens; }
};

/// The address of 16-byte piece `piece` of row `row` of a panel.
__device__ inline std::uint32_t piece_address(std::uint32_t panel, int row, int piece) {
  return panel + row * kRowBytes + ((piece ^ (row % 8)) << 4);
}

/// n of a column, in shared memory's order.
template <typename S>
__device__ inline int state_index(int column, int d_state) {
  return S::kMimo ? column / 2 + column % 2 * (d_state / 2) : column;
}

}  // namespace mamba3::cuda::scan
