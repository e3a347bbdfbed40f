// How 16 rows of a stored matrix reach shared memory, some inputs at a time.
//
// A step of a warp is kInputs inputs of a tile's 16 rows: of each plane of the type (matrix_cuda.h) so many
// bytes of every row. What holds the values is 128 bytes of a row for every type.
#pragma once

#include "ops/linear/cuda/thin_arguments.cuh"
#include "ops/linear/cuda/thin_instructions.cuh"

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

/// Copies one plane's part of a step after the other, for the rows of a tile.
template <DType kType, int kPlane>
class PlaneFetch {
 public:
  static constexpr int kBytes = row_bytes(kType, kPlane);

  /// Goes to another tile.
  __device__ void begin(const TileRows& rows, int blocks) {
    pitch_ = blocks * planes_of(kType).fields[kPlane].bytes;
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      const int row = min(i * kRows + lane / kCopies, kTileRows - 1);
      const int half = kRows <= 8 ? i * kRows / 8 : row / 8;
      row_[i] =
          rows.segment.planes[half][kPlane] + static_cast<std::int64_t>(rows.row(half, row % 8)) * pitch_;
    }
  }
  __device__ void run(int step, std::byte* to) const {
    if constexpr (kBytes == 2) {
      copy_word(step, to);
    } else {
      kBytes == 128 || pitch_ % kCopy == 0 ? copy(step, to) : copy_now(step, to);
    }
  }

 private:
  /// The warp copies kRows rows at a time, in pieces of kCopy bytes.
  static constexpr int kCopy = kBytes < 16 ? kBytes : 16;
  static constexpr int kCopies = kBytes / kCopy;
  static constexpr int kRows = 32 / kCopies < kTileRows ? 32 / kCopies : kTileRows;
  static constexpr int kPasses = kTileRows / kRows;

  __device__ void copy(int step, std::byte* to) const {
    const int lane = threadIdx.x % 32, piece = lane % kCopies, at = step * kBytes + piece * kCopy;
    if (lane >= kRows * kCopies) return;
    const bool valid = at < pitch_;  // zeros behind the row's end
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      const int row = i * kRows + lane / kCopies;
      std::byte* place = to + (kBytes == 128 ? swizzled<kType>(row, piece) : row * kBytes + piece * kCopy);
      copy_async<kCopy>(place, row_[i] + (valid ? at : 0), valid);
    }
  }
  /// Two bytes, with their neighbours.
  __device__ void copy_word(int step, std::byte* to) const {
    const int row = threadIdx.x % 32;
    if (row >= kTileRows) return;
    const auto from = reinterpret_cast<std::uintptr_t>(row_[0] + step * kBytes) & ~std::uintptr_t{3};
    copy_async<4>(to + row * 4, reinterpret_cast<const void*>(from), true);
  }
  /// Scales of rows that are not aligned: by the thread that has the row, not in the background.
  __device__ void copy_now(int step, std::byte* to) const {
    const int lane = threadIdx.x % 32;
    if (lane >= kRows * kCopies) return;
    for (int i = 0; i < kPasses; ++i) {
      for (int byte = lane % kCopies * kCopy, end = byte + kCopy; byte < end; byte += 2) {
        const bool valid = step * kBytes + byte < pitch_;
        const std::byte* from = row_[i] + (valid ? step * kBytes + byte : 0);
        *reinterpret_cast<std::uint16_t*>(to + (i * kRows + lane / kCopies) * kBytes + byte) =
            valid ? *reinterpret_cast<const std::uint16_t*>(from) : std::uint16_t{0};
      }
    }
  }

  const std::byte* row_[kPasses];
  int pitch_;
};
template <DType kType, int kPlane>
requires(row_bytes(kType, kPlane) == 0) class PlaneFetch<kType, kPlane> {
 public:
  __device__ void begin(const TileRows&, int) {}
  __device__ void run(int, std::byte*) const {}
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

/// Fetches a warp's steps one after the other, a.stages ahead of their use: of each of the block's tiles the
/// steps warp, warp + kWarps, ...
template <DType kType>
class WeightStream {
 public:
  __device__ WeightStream(const Arguments& a, std::byte* ring, int warp, int steps)
      : a_(a),
        ring_(ring),
        warp_(warp),
        steps_(steps),
        tile_(warp < steps ? static_cast<int>(blockIdx.x) : a.tiles),
        step_(warp) {
    if (tile_ < a.tiles) begin();
#pragma unroll 1
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
  __device__ void begin() {
    const Segment& segment = segment_of(a_.segment, a_.segments, tile_);
    const TileRows rows{segment, tile_ - segment.first_tile};
    const int blocks = a_.cols / planes_of(kType).elements;
    first_.begin(rows, blocks);
    second_.begin(rows, blocks);
    third_.begin(rows, blocks);
    fourth_.begin(rows, blocks);
  }
  __device__ void fetch() {
    if (tile_ < a_.tiles) {
      std::byte* to = ring_ + next_ * stage_bytes(kType);
      first_.run(step_, to);
      second_.run(step_, to + staged_at(kType, 1));
      third_.run(step_, to + staged_at(kType, 2));
      fourth_.run(step_, to + staged_at(kType, 3));
      step_ += kWarps;
      if (step_ >= steps_) {
        step_ = warp_;
        tile_ += gridDim.x;
        if (tile_ < a_.tiles) begin();
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
  PlaneFetch<kType, 0> first_;
  PlaneFetch<kType, 1> second_;
  PlaneFetch<kType, 2> third_;
  PlaneFetch<kType, 3> fourth_;
};

}  // namespace mamba3::cuda::thin
