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

/// A tile's rows, one of each plane.
struct TileRows {
  const Segment& segment;
  int tile;  ///< of the segment

  __device__ int row(int i) const {
    return min(tile * segment.step + (i & 7) + (i < 8 ? 0 : segment.second), segment.rows - 1);
  }
  __device__ const std::byte* plane(int p, int i) const { return segment.planes[i / 8][p]; }
};

template <DType kType, int kPlane>
__device__ inline void fetch_plane(const TileRows& rows, int blocks, int step, std::byte* to) {
  constexpr int kBytes = row_bytes(kType, kPlane);
  const std::int64_t pitch = static_cast<std::int64_t>(blocks) * planes_of(kType).fields[kPlane].bytes;
  const int lane = threadIdx.x % 32;
  const auto source = [&](int row, int byte) {
    return rows.plane(kPlane, row) + rows.row(row) * pitch + step * kBytes + byte;
  };
  const auto copy = [&]<int kSize>() {
    constexpr int kPieces = kBytes / kSize;
#pragma unroll
    for (int i = lane; i < kTileRows * kPieces; i += 32) {
      const int row = i / kPieces, piece = i % kPieces;
      const bool valid = step * kBytes + piece * kSize < pitch;
      std::byte* at = to + (kBytes == 128 ? swizzled<kType>(row, piece) : row * kBytes + piece * kSize);
      copy_async<kSize>(at, source(row, valid ? piece * kSize : 0), valid);
    }
  };
  if constexpr (kBytes == 2) {
    if (lane < kTileRows) {
      const auto from = reinterpret_cast<std::uintptr_t>(source(lane, 0)) & ~std::uintptr_t{3};
      copy_async<4>(to + lane * 4, reinterpret_cast<const void*>(from), true);
    }
  } else if constexpr (kBytes == 128) {
    copy.template operator()<16>();
  } else {
    constexpr int kWhole = kBytes < 16 ? kBytes : 16;
    if (pitch % kWhole == 0) {
      copy.template operator()<kWhole>();
    } else if (pitch % 4 == 0) {
      copy.template operator()<4>();
    } else {  // an odd number of scales in a row
      for (int i = lane; i < kTileRows * kBytes / 2; i += 32) {
        const int row = i / (kBytes / 2), byte = i % (kBytes / 2) * 2;
        const bool valid = step * kBytes + byte < pitch;
        *reinterpret_cast<std::uint16_t*>(to + row * kBytes + byte) =
            valid ? *reinterpret_cast<const std::uint16_t*>(source(row, byte)) : std::uint16_t{0};
      }
    }
  }
}

/// Fetches a warp's steps one after the other: of each of the block's tiles the steps warp, warp + kWarps,
/// ..., kStages ahead of their use.
template <DType kType, int kStages>
class WeightStream {
 public:
  static constexpr int kBytes = kStages * stage_bytes(kType);

  __device__ WeightStream(const Arguments& a, std::byte* ring, int warp, int steps)
      : a_(a), ring_(ring), warp_(warp), steps_(steps), tile_(blockIdx.x), step_(warp) {
    if (warp >= steps) tile_ = a.tiles;  // nothing to do
    for (int i = 0; i < kStages; ++i) fetch();
  }

  /// The oldest stage, when it has arrived.
  __device__ const std::byte* wait() {
    wait_for_groups<kStages - 1>();
    __syncwarp();
    return ring_ + next_ * stage_bytes(kType);
  }
  /// Gives the oldest stage back and fetches another one into its place.
  __device__ void advance() {
    __syncwarp();
    fetch();
  }

 private:
  __device__ void fetch() {
    if (tile_ < a_.tiles) {
      const Segment& segment = segment_of(a_.segment, a_.segments, tile_);
      const TileRows rows{segment, tile_ - segment.first_tile};
      const int blocks = a_.cols / planes_of(kType).elements;
      std::byte* to = ring_ + next_ * stage_bytes(kType);
      fetch_plane<kType, 0>(rows, blocks, step_, to);
      if constexpr (row_bytes(kType, 1) > 0)
        fetch_plane<kType, 1>(rows, blocks, step_, to + staged_at(kType, 1));
      if constexpr (row_bytes(kType, 2) > 0)
        fetch_plane<kType, 2>(rows, blocks, step_, to + staged_at(kType, 2));
      if constexpr (row_bytes(kType, 3) > 0)
        fetch_plane<kType, 3>(rows, blocks, step_, to + staged_at(kType, 3));
      step_ += kWarps;
      if (step_ >= steps_) {
        step_ = warp_;
        tile_ += gridDim.x;
      }
    }
    close_group();
    next_ = next_ + 1 == kStages ? 0 : next_ + 1;
  }

  const Arguments& a_;
  std::byte* ring_;
  int warp_, steps_;
  int tile_, step_;
  int next_ = 0;
};

}  // namespace mamba3::cuda::thin
