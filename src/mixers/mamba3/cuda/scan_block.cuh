// What a block of the scan works on: its arguments, its piece of a sequence, its shared memory.
//
// A block, four warps, walks a segment of a sequence for one head and kSlice values of P, 64 rows at a time:
// a row is a token and a rank. q, k and the state meet in shared memory as bf16, kColumns of N at a time, in
// panels of rows of 128 bytes whose 16-byte pieces are permuted (piece i of row r lies at i ^ r % 8), so that
// tiles are read without conflicts.
//
// Columns of N lie there in an order in which the two values of a pair that rotates together are neighbours:
// for SISO as they are, for MIMO column 2 s + b is n = s + b N / 2.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "mixers/mamba3/cuda/scan_cuda.h"

namespace mamba3::cuda::scan {

constexpr int kRows = 64;       // of a chunk
constexpr int kColumns = 128;   // of N in shared memory at a time
constexpr int kPairs = 64;      // of those
constexpr int kPanel = 64;      // columns of a panel: 128 bytes
constexpr int kRowBytes = 128;  // of a panel
constexpr int kThreads = 128;
constexpr int kKeysPanel = kRows * kRowBytes;  // bytes of a panel of q, k, v or z

/// What the compiler knows of a shape. Ranks are padded to 4 or 8, with zeros; 1 is SISO.
template <int Halves, int Slice, int Ranks>
struct Shape {
  static constexpr int kHalves = Halves;  ///< N is at most kHalves kColumns
  static constexpr int kSlice = Slice;    ///< values of P of a block: 32 or 64
  static constexpr int kRanks = Ranks;
  static constexpr bool kMimo = Ranks > 1;
  static constexpr int kTokens = kRows / Ranks;               ///< of a chunk
  static constexpr int kTilesP = Slice / 16;                  ///< of a slice
  static constexpr int kTilesN = kColumns * Slice / 16 / 32;  ///< 8 columns each, of a warp and half
  static constexpr int kStatePanel = Slice * kRowBytes;       ///< bytes
};

/// Where things lie in shared memory: bytes from its start.
template <typename S>
struct Memory {
  static constexpr int q = 0;
  static constexpr int k = q + 2 * kKeysPanel;
  static constexpr int h = k + 2 * kKeysPanel;
  static constexpr int v = h + 2 * S::kStatePanel;
  static constexpr int z = v + kKeysPanel;
  static constexpr int bias = z + kKeysPanel;  ///< [2, kRanks, kHalves kColumns] of B, then C
  static constexpr int reach =
      bias + 2 * S::kRanks * S::kHalves * kColumns * 4;  ///< [kTokens], as the next two
  static constexpr int key = reach + S::kTokens * 4;
  static constexpr int own = key + S::kTokens * 4;
  static constexpr int weight = own + S::kTokens * 4;  ///< [kRows] bf16
  static constexpr int theta = weight + kRows * 2;     ///< [kHalves kPairs]
  static constexpr int gates = theta + S::kHalves * kPairs * 4;
  /// Half of mimo_z and mimo_o of a rank, for a pair of P 16 bytes: shifted so that two ranks meet no bank
  /// twice.
  static constexpr int kGatePitch = S::kSlice * 8 + 64;
  static constexpr int scales = gates + (S::kMimo ? S::kRanks * kGatePitch : 0);  ///< mimo_x
  static constexpr int turns = scales + (S::kMimo ? S::kRanks * S::kSlice * 4 : 0);

  /// Cosines and sines (half2) of the pairs that lie in shared memory at a time, in panels of 32 pairs.
  static constexpr int kTurnsPanel = S::kTokens * kRowBytes;
  __host__ __device__ static int size(int angles) {
    return turns + (angles > kPanel / 2 ? 2 : 1) * kTurnsPanel;
  }

  /// For MIMO x before it meets mimo_x lies behind z: tokens are at most a quarter of the rows.
  static constexpr int x = S::kMimo ? z + kKeysPanel / 2 : v;
};

struct Arguments {
  ScanInput in;
  Mamba3Parameters parameters;
  __nv_bfloat16* out;
  const std::int32_t* cu_seqlens;
  float* const* states;
  std::int64_t state_offset;
  int heads, headdim, d_state, rank, ngroups, angles;
  int slices;              ///< of P
  int segment;             ///< tokens, a multiple of every chunk
  int bc_bytes, zx_bytes;  ///< from a token to the next
  // Partial states, where a sequence has several segments or heads have several slices: slot 0 its start,
  // slot j + 1 what segment j adds.
  float* slots;
  std::int64_t slot_size;  ///< floats of one head
  // Mamba3Layout
  std::int64_t theta, start, h, tokens, head_tokens;
  int wide_n, wide_p;
};

/// A block's piece of the work, and a thread's place in it.
struct Place {
  int head, group;      ///< of B and C
  int slice;            ///< the block's first value of P
  int sequence, index;  ///< of the segment in its sequence
  std::int64_t first;   ///< the segment's first token among all
  int tokens;           ///< of the segment; not above 0: there is none
  int rest;             ///< tokens of the sequence from the segment's first on
  std::int64_t slot;    ///< the sequence's slot 0

  int warp, lane;

  __device__ explicit Place(const Arguments& a)
      : head(blockIdx.x / a.slices),
        group(head / (a.heads / a.ngroups)),
        slice(blockIdx.x % a.slices * (a.headdim / a.slices)),
        sequence(blockIdx.z),
        index(blockIdx.y) {
    const int begin = a.cu_seqlens[sequence], end = a.cu_seqlens[sequence + 1];
    first = static_cast<std::int64_t>(begin) + static_cast<std::int64_t>(index) * a.segment;
    rest = static_cast<int>(end - first);
    tokens = min(rest, a.segment);
    // A sequence has at most a segment more than lie between multiples of a segment: no two share a slot.
    slot = begin / a.segment + sequence;
    // From one lane, so that the compiler knows it of the whole warp.
    warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  }
  __device__ bool is_first() const { return index == 0; }
  __device__ bool is_last() const { return rest == tokens; }
  /// No other block reads the sequence's state.
  __device__ bool is_alone(const Arguments& a) const { return is_first() && is_last() && a.slices == 1; }
};

/// Where 16-byte piece `piece` of row `row` of a panel lies. For constant pieces one exclusive or each.
__host__ __device__ constexpr int piece_offset(int row, int piece) {
  return (row * kRowBytes + (row % 8 << 4)) ^ piece << 4;
}

/// n of a column, in shared memory's order.
template <typename S>
__device__ inline int state_index(int column, int d_state) {
  return S::kMimo ? column / 2 + column % 2 * (d_state / 2) : column;
}

/// A value of which nothing is computed ahead of a loop: a chunk's phases have more addresses and selections
/// than there are registers.
template <typename T>
__device__ inline T here(T value) {
  asm volatile("" : "+r"(reinterpret_cast<std::uint32_t&>(value)));
  return value;
}

template <typename T>
__device__ inline T& at(char* shared, int offset) {
  return *reinterpret_cast<T*>(shared + offset);
}

}  // namespace mamba3::cuda::scan
