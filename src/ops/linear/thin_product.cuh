// The kernel of the thin products, and its launch.
//
// A block has 16 outputs at a time (a tile), its eight warps share the inputs: warp w takes the steps w, w +
// 8,
// ... of the tile's rows, multiplies by matrix units, and the warps' sums meet in shared memory, always in
// the same order. Each warp fetches its own weights several steps ahead, over the ends of tiles, and before
// the kernel in front has ended: no warp waits for another one but where sums meet.
#pragma once

#include <algorithm>

#include "core/cuda/runtime.h"
#include "ops/linear/thin_decode.cuh"
#include "ops/linear/thin_pairs.cuh"

namespace mamba3::cuda::thin {

/// Where things lie in a block's shared memory, in bytes.
struct SharedLayout {
  int steps, padded;               ///< steps of a row, and its inputs filled up to them
  int values, sums, partial, end;  ///< the ring comes first

  __host__ __device__ SharedLayout(DType type, bool with_sums, int cols, int rows, int stages) {
    const int inputs = inputs_of(type), column_tiles = rows > 8 ? 2 : 1;
    steps = (cols + inputs - 1) / inputs;
    padded = steps * inputs;
    values = kWarps * stages * stage_bytes(type);
    sums = values + padded * rows * 2;
    partial = sums + (with_sums ? padded / 256 * rows * 32 : 0);
    end = partial + 2 * kWarps * column_tiles * kTileRows * 8 * static_cast<int>(sizeof(float));
  }
};

/// A thread's output of a tile. What it is added to is read at once, long before it is needed.
class Output {
 public:
  __device__ Output(const Arguments& a, const TileRows& rows)
      : n_(threadIdx.x / kTileRows), i_(threadIdx.x % kTileRows) {
    const Segment& s = rows.segment;
    m_ = rows.tile * s.step + i_ / 8 * s.second + i_ % 8;
    mine_ = n_ < a.rows && m_ < s.rows && !(s.swiglu && i_ >= 8);
    old_ = mine_ ? old_output(s, n_, m_) : 0.0f;
  }
  /// Adds up the warps' sums. partial: [kWarps][column tile][16][8].
  template <int kColumnTiles>
  __device__ void store(const Segment& s, const RowNorm* norms, const float* partial) const {
    if (!mine_) return;
    const auto total = [&](int row) {
      float sum = 0;
      for (int w = 0; w < kWarps; ++w) {
        sum += partial[((w * kColumnTiles + n_ / 8) * kTileRows + row) * 8 + n_ % 8];
      }
      return sum * norms[n_].down;
    };
    const float value = total(i_);
    put_output(s, n_, m_, s.swiglu ? value * silu(total(i_ + 8)) : old_ + value);
  }

 private:
  int n_, i_, m_;
  bool mine_;
  float old_;
};

template <DType kType, typename T, int kColumnTiles>
__global__ void __launch_bounds__(kThreads, 2) product(const __grid_constant__ Arguments a) {
  using D = Decoder<kType>;
  extern __shared__ __align__(128) std::byte shared[];
  __shared__ RowNorm norms[kMostThinRows];
  const SharedLayout layout(kType, D::kSums, a.cols, a.rows, a.stages);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  auto* partial = reinterpret_cast<float*>(shared + layout.partial);
  auto* statistics = reinterpret_cast<Statistics*>(partial);

  WeightStream<kType> weights(a, shared + warp * a.stages * stage_bytes(kType), warp, layout.steps);
  PairWork<float, T, kPiece> pairs(a);
  const NormWeights<T, kPiece> norm_weights(a, threadIdx.x * kPiece);
  let_dependents_start();
  wait_for_previous_kernel();
  find_statistics<T, D::kHalf, kPiece>(a, *statistics);
  stage_input<T, D::kHalf, D::kOrder, D::kSums>(a, norm_weights, *statistics, norms, layout.padded,
                                                shared + layout.values, shared + layout.sums);
  pairs.run(norms, norm_weights, partial);

  const Activations<kColumnTiles> x(shared + layout.values, shared + layout.sums, a.rows);
  constexpr int kPartial = kWarps * kColumnTiles * kTileRows * 8;
  for (int tile = blockIdx.x, turn = 1; tile < a.tiles; tile += gridDim.x, turn ^= 1) {
    const Segment& s = segment_of(a.segment, a.segments, tile);
    const TileRows rows{s, tile - s.first_tile};
    const Output output(a, rows);
    const int own[2] = {rows.row(0, lane / 4), rows.row(1, lane / 4)};
    float sum[kColumnTiles][4] = {};
    for (int step = warp; step < layout.steps; step += kWarps) {
      D::add(weights.wait(), x, step, own, a.cols / planes_of(kType).elements, sum);
      weights.advance();
    }
    float* of_turn = partial + turn * kPartial;
    for (int c = 0; c < kColumnTiles; ++c) {
      auto* to = reinterpret_cast<float2*>(of_turn + (warp * kColumnTiles + c) * kTileRows * 8);
      to[lane] = {sum[c][0], sum[c][1]};
      to[lane + 32] = {sum[c][2], sum[c][3]};
    }
    __syncthreads();
    output.store<kColumnTiles>(s, norms, of_turn);
  }
}

/// What the device offers a block.
struct Limits {
  int multiprocessors, shared, shared_of_two;  ///< shared_of_two: so much that two blocks fit

  static Limits of_device() {
    int device = 0;
    check(cudaGetDevice(&device), "asking for the device");
    const auto attribute = [device](cudaDeviceAttr which) {
      int value = 0;
      check(cudaDeviceGetAttribute(&value, which, device), "asking for the device's limits");
      return value;
    };
    const int reserved = attribute(cudaDevAttrReservedSharedMemoryPerBlock);
    // norms[] is static.
    const int fixed = kMostThinRows * static_cast<int>(sizeof(RowNorm));
    return {attribute(cudaDevAttrMultiProcessorCount),
            attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) - fixed,
            attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) / 2 - reserved - fixed};
  }
};

template <typename Kernel>
void launch(Kernel kernel, const Arguments& a, int blocks, int shared, bool dependent, cudaStream_t stream) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared), "thin product");
  // Kernels that divide a multiprocessor's memory alike between cache and blocks can follow each other there.
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "thin product");
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = static_cast<std::size_t>(shared);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = dependent ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, a), "thin product");
}

/// The same outputs for the rows [first, first + rows) of the input.
inline Arguments rows_of(Arguments a, int first, int rows) {
  const std::int64_t at = static_cast<std::int64_t>(first) * a.cols;
  if (a.input.x != nullptr) a.input.x += at;
  if (a.input.x_bf16 != nullptr) a.input.x_bf16 += at;
  for (int i = 0; i < a.segments + a.pair_segments; ++i) {
    Segment& s = a.segment[i];
    const std::size_t size = s.store == ThinStore::bf16 ? sizeof(__nv_bfloat16) : sizeof(float);
    s.y = static_cast<std::byte*>(s.y) + static_cast<std::size_t>(first * s.stride) * size;
  }
  a.rows = rows;
  return a;
}

/// As many stages as leave room for a block of the next kernel, which has fetched its first weights when this
/// one ends. A multiprocessor's share of the memory's rate times the latency is about 25 KB, two stages; the
/// rest bridges the gap between kernels. A device with little shared memory takes the rows in two launches.
template <DType kType, typename T>
void launch_product(const Arguments& a, bool dependent, cudaStream_t stream) {
  const Limits limits = Limits::of_device();
  const auto need = [&](int rows, int stages) {
    return SharedLayout(kType, Decoder<kType>::kSums, a.cols, rows, stages).end;
  };
  int rows = a.rows;
  while (rows > 1 && need(rows, 2) > limits.shared) rows = (rows + 1) / 2;
  const int room = need(rows, 2) <= limits.shared_of_two ? limits.shared_of_two : limits.shared;
  int stages = 2;
  while (stages < kMostStages && need(rows, stages + 1) <= std::min(room, limits.shared)) ++stages;
  const int blocks = std::min(limits.multiprocessors, std::max(a.tiles, a.pairs));
  for (int first = 0; first < a.rows; first += rows) {
    Arguments part = rows_of(a, first, std::min(rows, a.rows - first));
    part.stages = stages;
    launch(part.rows > 8 ? product<kType, T, 2> : product<kType, T, 1>, part, blocks, need(part.rows, stages),
           dependent, stream);
  }
}

/// For inputs in float32 or bf16.
template <DType kType>
void launch_product(const Arguments& a, bool dependent, cudaStream_t stream) {
  a.input.x != nullptr ? launch_product<kType, float>(a, dependent, stream)
                       : launch_product<kType, __nv_bfloat16>(a, dependent, stream);
}

/// Of a quantized type.
void launch_quantized(DType type, const Arguments& a, bool dependent, cudaStream_t stream);

}  // namespace mamba3::cuda::thin
