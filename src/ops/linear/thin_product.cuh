// The kernel of the thin products, and its launch.
//
// A tile is 16 outputs. Some warps of a block, a group, share a tile's inputs, multiply by matrix units, and
// their sums meet in shared memory, always in the same order. Each warp fetches its own weights several steps
// ahead, over the ends of tiles, and before the kernel in front has ended: no warp waits for another one but
// where the activations come in and where sums meet.
#pragma once

#include <algorithm>

#include "core/cuda/runtime.h"
#include "ops/linear/thin_decode.cuh"
#include "ops/linear/thin_pairs.cuh"

namespace mamba3::cuda::thin {

/// Where things lie in a block's shared memory, in bytes.
struct SharedLayout {
  int steps, padded;  ///< steps of a row, and its inputs filled up to them
  int values, scales, sums, partial, statistics, pairs, end;  ///< the ring comes first

  template <typename Decoder>
  static __host__ __device__ SharedLayout of(DType type, int cols, int rows, int stages, int turns) {
    const int inputs = inputs_of(type), column_tiles = rows > 8 ? 2 : 1;
    SharedLayout at;
    at.steps = (cols + inputs - 1) / inputs;
    at.padded = (cols + kScaledInputs - 1) / kScaledInputs * kScaledInputs;
    const int scaled = at.padded / kScaledInputs * rows;
    at.values = kWarps * stages * stage_bytes(type);
    at.sums = at.values + at.padded * rows * 2;
    at.partial = at.sums + (Decoder::kSums ? scaled * 32 : 0);
    at.statistics = at.partial + turns * kWarps * column_tiles * kTileRows * 8 * 4;
    at.pairs = at.statistics + static_cast<int>(sizeof(Statistics));
    at.scales = at.pairs + static_cast<int>(sizeof(PairSums));
    at.end = at.scales + (Decoder::kHalf ? scaled * 4 : 0);
    return at;
  }
};

/// A tile's outputs, shared among the threads of its group.
template <typename T, int kMostRows>
class TileOutput {
 public:
  static constexpr int kColumnTiles = (kMostRows + 7) / 8;

  /// What a thread's first output is added to, and multiplied by, is sought at once, long before it is
  /// needed.
  __device__ TileOutput(const Arguments& a, const TileRows& rows, const WarpWork& work,
                        const Statistics& found)
      : a_(a),
        rows_(rows),
        work_(work),
        found_(found),
        first_(work.slice * 32 + threadIdx.x % 32),
        old_(old(first_)),
        factor_(exists(first_) ? factor_after<T>(a, found, first_ / kTileRows) : 1) {}

  /// Adds up the warps' sums and stores. partial: [kWarps][column tile][16][8].
  __device__ void store(const float* partial) const {
    const Segment& s = rows_.segment;
    partial += work_.group * work_.splits * kColumnTiles * kTileRows * 8;
#pragma unroll 1
    for (int at = first_; at < rows() * kTileRows; at += work_.splits * 32) {
      if (!exists(at)) continue;
      const int n = at / kTileRows, i = at % kTileRows;
      const float factor = at == first_ ? factor_ : factor_after<T>(a_, found_, n);
      const auto total = [&](int row) {
        float sum = 0;
#pragma unroll
        for (int w = 0; w < kWarps; ++w) {
          if (w < work_.splits) sum += partial[((w * kColumnTiles + n / 8) * kTileRows + row) * 8 + n % 8];
        }
        return sum * factor;
      };
      const float value = s.swiglu ? total(i) * silu(total(i + 8)) : total(i);
      put_output(s, n, output(i), (at == first_ ? old_ : old(at)) + value);
    }
  }

 private:
  __device__ int rows() const {
    return kMostRows == 1 ? 1 : a_.rows;
  }
  __device__ int output(int i) const {
    const Segment& s = rows_.segment;
    return rows_.tile * s.step + i / 8 * s.second + i % 8;
  }
  __device__ bool exists(int at) const {
    const Segment& s = rows_.segment;
    const int i = at % kTileRows;
    return at / kTileRows < rows() && output(i) < s.rows && !(s.swiglu && i >= 8);
  }
  __device__ float old(int at) const {
    return exists(at) ? old_output(rows_.segment, at / kTileRows, output(at % kTileRows)) : 0.0f;
  }

  const Arguments& a_;
  const TileRows& rows_;
  const WarpWork& work_;
  const Statistics& found_;
  int first_;
  float old_, factor_;
};

template <DType kType, typename T, int kMostRows>
__global__ void __launch_bounds__(kThreads, 2) product(const __grid_constant__ Arguments a) {
  using D = Decoder<kType>;
  using X = Activations<kMostRows>;
  extern __shared__ __align__(128) std::byte shared[];
  const auto layout = SharedLayout::of<D>(kType, a.cols, a.rows, a.stages, a.turns);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const Staged staged = {shared + layout.values, shared + layout.scales, shared + layout.sums};
  auto* partial = reinterpret_cast<float*>(shared + layout.partial);
  auto& statistics = *reinterpret_cast<Statistics*>(shared + layout.statistics);
  auto& pair_sums = *reinterpret_cast<PairSums*>(shared + layout.pairs);

  const WarpWork work(warp, a.splits);
  WeightStream<kType> weights(a, shared + warp * a.stages * stage_bytes(kType), work, layout.steps);
  FirstPair<float, kPiece> pair(a, pair_sums);
  const NormWeights<T, kPiece> norm_weights(a, threadIdx.x * kPiece);
  wait_for_previous_kernel();
  if (is_layer_norm<T>(a)) {
    reduce_rows<T, false, kPiece>(a, statistics);
    reduce_rows<T, true, kPiece>(a, statistics);
  }
  stage_input<T, kMostRows, D::kHalf, D::kOrder, D::kSums>(a, norm_weights, pair, layout.padded, statistics,
                                                           staged);
  // Not earlier: now the kernel before is gone from every multiprocessor, and the next one's blocks spread
  // evenly; nor do its weights hold up the activations.
  let_dependents_start();

  const X x(staged, a.rows);
  constexpr int kPartial = kWarps * X::kColumnTiles * kTileRows * 8;
  for (int tile = work.first_tile(), turn = 0; tile < a.tiles; tile += work.tile_stride(), turn ^= 1) {
    const Segment& s = segment_of(a.segment, a.segments, tile);
    const TileRows rows{s, tile - s.first_tile};
    const TileOutput<T, kMostRows> output(a, rows, work, statistics);
    const int own[2] = {rows.row(0, lane / 4), rows.row(1, lane / 4)};
    float sum[X::kColumnTiles][4] = {};
#pragma unroll 1
    for (int step = work.slice; step < layout.steps; step += work.splits) {
      const std::byte* stage = weights.wait();
      const int blocks = a.cols / planes_of(kType).elements;
      if constexpr (D::kHalf) {
        float part[X::kColumnTiles][4] = {};
        D::add(stage, x, step, own, blocks, part);
        x.add_step(step * inputs_of(kType), part, sum);
      } else {
        D::add(stage, x, step, own, blocks, sum);
      }
      weights.advance();
    }
    float* of_turn = partial + turn * kPartial;
    for (int c = 0; c < X::kColumnTiles; ++c) {
      auto* to = reinterpret_cast<float2*>(of_turn + (warp * X::kColumnTiles + c) * kTileRows * 8);
      to[lane] = {sum[c][0], sum[c][1]};
      to[lane + 32] = {sum[c][2], sum[c][3]};
    }
    meet(1 + work.group, work.splits * 32);
    output.store(of_turn);
  }
  if (a.pairs == 0) return;
  pair.store<T>(statistics);
  if (blockIdx.x + gridDim.x >= a.pairs) return;
  __syncthreads();
  multiply_pairs<float, T, kPiece>(a, blockIdx.x + gridDim.x, statistics, pair_sums);
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
    return {attribute(cudaDevAttrMultiProcessorCount), attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin),
            attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) / 2 - reserved};
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
  const int steps = (a.cols + inputs_of(kType) - 1) / inputs_of(kType);
  int rows = a.rows, splits = 1;
  while (splits < kWarps && 2 * splits <= steps) splits *= 2;
  const int blocks =
      std::min(limits.multiprocessors, std::max((a.tiles * splits + kWarps - 1) / kWarps, a.pairs));
  const int turns = a.tiles * splits <= blocks * kWarps ? 1 : 2;
  const auto need = [&](int part, int stages) {
    return SharedLayout::of<Decoder<kType>>(kType, a.cols, part, stages, turns).end;
  };
  while (rows > 1 && need(rows, 2) > limits.shared) rows = (rows + 1) / 2;
  const int room = need(rows, 2) <= limits.shared_of_two ? limits.shared_of_two : limits.shared;
  int stages = 2;
  while (stages < kMostStages && need(rows, stages + 1) <= std::min(room, limits.shared)) ++stages;
  for (int first = 0; first < a.rows; first += rows) {
    Arguments part = rows_of(a, first, std::min(rows, a.rows - first));
    part.stages = stages;
    part.splits = splits;
    part.turns = turns;
    const auto kernel = part.rows == 1  ? product<kType, T, 1>
                        : part.rows > 8 ? product<kType, T, 16>
                                        : product<kType, T, 8>;
    launch(kernel, part, blocks, need(part.rows, stages), dependent, stream);
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
