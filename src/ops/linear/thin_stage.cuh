// How 16 rows of a stored matrix reach shared memory, some inputs at a time.
//
// A step of a warp is kInputs inputs of a tile's 16 rows: of each plane of the type (matrix_cuda.h) so many
// bytes of every row. What holds the values is 128 bytes of a row for every type.
#pragma once

#include "ops/linear/thin_arguments.cuh"
#include "ops/linear/thin_instructions.cuh"

namespace mamba3::cuda::thin {

/// Inputs of a step.
constexpr int inputs_of(DType type) {
  switch (type) {
    case DType::bf16:
    case DType::f16:
      return 64;
    case DType::q8_0:
      return 128;
    default:
      return 256;
  }
}

/// Bytes of a plane's row in a step.
constexpr int row_bytes(DType type, int plane) {
  const PlaneTable table = planes_of(type);
  return table.fields[plane].bytes * inputs_of(type) / table.elements;
}
/// The same in shared memory. Two bytes (Q6_K's d) are fetched with their neighbours.
constexpr int staged_bytes(DType type, int plane) {
  const int bytes = row_bytes(type, plane);
  return bytes == 2 ? 4 : bytes;
}
/// Where a plane begins in a stage.
constexpr int staged_at(DType type, int plane) {
  int at = 0;
  for (int i = 0; i < plane; ++i) at += kTileRows * staged_bytes(type, i);
  return at;
}
constexpr int stage_bytes(DType type) {
  return staged_at(type, 4);
}

/// A row of 128 bytes has its pieces of 16 bytes permuted, so that the eight rows that a warp reads together
/// lie in different banks: in units of as many pieces as the threads of a quad read together (64 bytes of
/// plain types, 32 of Q8_0, Q4_K and Q5_K, 16 of the others).
constexpr int unit_pieces(DType type) {
  switch (type) {
    case DType::bf16:
    case DType::f16:
      return 4;
    case DType::q8_0:
    case DType::q4_k:
    case DType::q5_k:
      return 2;
    default:
      return 1;
  }
}
template <DType kType>
__device__ inline int swizzled(int row, int piece) {
  constexpr int kUnit = unit_pieces(kType);
  return row * 128 + (piece ^ row % (8 / kUnit) * kUnit) * 16;
}

/// The rows of a segment's tile: eight from `first[0]` on, eight from `first[1]` on. Rows beyond the last one
/// repeat it; what becomes of them is not stored.
struct TileRows {
  const Segment& segment;
  int tile;  ///< of the segment

  __device__ int row(int half, int i) const {
    return min(tile * segment.step + half * segment.second + i, segment.rows - 1);
  }
};

/// One plane's part of a step.
template <DType kType, int kPlane>
class PlaneFetch {
 public:
  static constexpr int kBytes = row_bytes(kType, kPlane);

  __device__ PlaneFetch(const TileRows& rows, int blocks, int step)
      : rows_(rows),
        pitch_(static_cast<std::int64_t>(blocks) * planes_of(kType).fields[kPlane].bytes),
        at_(step * kBytes) {}

  __device__ void run(std::byte* to) const {
    constexpr int kWhole = kBytes < 16 ? kBytes : 16;
    if constexpr (kBytes == 2) {
      copy_words(to);
    } else if constexpr (kBytes == 128) {
      copy<16>(to);
    } else if (pitch_ % kWhole == 0) {
      copy<kWhole>(to);
    } else if (pitch_ % 4 == 0) {
      copy<4>(to);
    } else {
      copy_now(to);
    }
  }

 private:
  __device__ const std::byte* source(int half, int i) const {
    return rows_.segment.planes[half][kPlane] + rows_.row(half, i) * pitch_ + at_;
  }

  /// In pieces of kSize bytes, zeros behind the row's end. The warp takes kRows rows at a time.
  template <int kSize>
  __device__ void copy(std::byte* to) const {
    constexpr int kPieces = kBytes / kSize;
    constexpr int kRows = 32 / kPieces < kTileRows ? 32 / kPieces : kTileRows;
    const int lane = threadIdx.x % 32, piece = lane % kPieces;
    const bool valid = at_ + piece * kSize < pitch_;
#pragma unroll
    for (int first = 0; first < kTileRows; first += kRows) {
      const int row = first + lane / kPieces, half = kRows <= 8 ? first / 8 : row / 8;
      if (row >= kTileRows) break;
      std::byte* place = to + (kBytes == 128 ? swizzled<kType>(row, piece) : row * kBytes + piece * kSize);
      copy_async<kSize>(place, source(half, row % 8) + (valid ? piece * kSize : 0), valid);
    }
  }
  /// Two bytes, with their neighbours.
  __device__ void copy_words(std::byte* to) const {
    const int row = threadIdx.x % 32;
    if (row >= kTileRows) return;
    const auto from = reinterpret_cast<std::uintptr_t>(source(row / 8, row % 8)) & ~std::uintptr_t{3};
    copy_async<4>(to + row * 4, reinterpret_cast<const void*>(from), true);
  }
  /// Scales of a row that has an odd number of them: not in the background.
  __device__ void copy_now(std::byte* to) const {
    for (int i = threadIdx.x % 32; i < kTileRows * kBytes / 2; i += 32) {
      const int row = i / (kBytes / 2), byte = i % (kBytes / 2) * 2;
      std::uint16_t value = 0;
      if (at_ + byte < pitch_) {
        value = *reinterpret_cast<const std::uint16_t*>(source(row / 8, row % 8) + byte);
      }
      *reinterpret_cast<std::uint16_t*>(to + row * kBytes + byte) = value;
    }
  }

  const TileRows& rows_;
  std::int64_t pitch_;
  int at_;
};

/// At most this many stages.
inline constexpr int kMostStages = 6;

/// Waits until at most `stages` - 1 groups of copies are under way.
__device__ inline void wait_for_oldest(int stages) {
  switch (stages) {
    case 2:
      return wait_for_groups<1>();
    case 3:
      return wait_for_groups<2>();
    case 4:
      return wait_for_groups<3>();
    case 5:
      return wait_for_groups<4>();
    default:
      return wait_for_groups<kMostStages - 1>();
  }
}

/// Fetches a warp's steps one after the other: of each of the block's tiles the steps warp, warp + kWarps,
/// ..., `stages` ahead of their use.
template <DType kType>
class WeightStream {
 public:
  __device__ WeightStream(const Arguments& a, std::byte* ring, int warp, int steps)
      : a_(a), ring_(ring), warp_(warp), steps_(steps), tile_(blockIdx.x), step_(warp) {
    if (warp >= steps) tile_ = a.tiles;  // nothing to do
    for (int i = 0; i < a.stages; ++i) fetch();
  }

  /// The oldest stage, when it has arrived.
  __device__ const std::byte* wait() {
    wait_for_oldest(a_.stages);
    __syncwarp();
    return ring_ + next_ * stage_bytes(kType);
  }
  /// Gives the oldest stage back and fetches another one into its place.
  __device__ void advance() {
    __syncwarp();
    fetch();
  }

 private:
  template <int kPlane>
  __device__ void fetch_plane(const TileRows& rows, std::byte* to) {
    if constexpr (row_bytes(kType, kPlane) > 0) {
      const int blocks = a_.cols / planes_of(kType).elements;
      PlaneFetch<kType, kPlane>(rows, blocks, step_).run(to + staged_at(kType, kPlane));
    }
  }
  __device__ void fetch() {
    if (tile_ < a_.tiles) {
      const Segment& segment = segment_of(a_.segment, a_.segments, tile_);
      const TileRows rows{segment, tile_ - segment.first_tile};
      std::byte* to = ring_ + next_ * stage_bytes(kType);
      fetch_plane<0>(rows, to);
      fetch_plane<1>(rows, to);
      fetch_plane<2>(rows, to);
      fetch_plane<3>(rows, to);
      step_ += kWarps;
      if (step_ >= steps_) {
        step_ = warp_;
        tile_ += gridDim.x;
      }
    }
    close_group();
    next_ = next_ + 1 == a_.stages ? 0 : next_ + 1;
  }

  const Arguments& a_;
  std::byte* ring_;
  int warp_, steps_;
  int tile_, step_;
  int next_ = 0;
};

}  // namespace mamba3::cuda::thin
