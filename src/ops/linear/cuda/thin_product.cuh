// The kernel of the thin products, and its launch.
//
// A block makes a tile, 16 outputs, at a time. Its eight warps share the inputs, multiply by matrix units,
// and their sums meet in shared memory, always in the same order. Each warp fetches its own weights several
// steps ahead, over the ends of tiles, and before the kernel in front has ended: no warp waits for another
// one but where the activations come in and where sums meet.
#pragma once

#include <algorithm>

#include "core/cuda/dependent.cuh"
#include "core/cuda/runtime.h"
#include "ops/linear/cuda/thin_decode.cuh"
#include "ops/linear/cuda/thin_pairs.cuh"

namespace mamba3::cuda::thin {

/// Where things lie in a block's shared memory, in bytes.
struct SharedLayout {
  int steps, padded;  ///< steps of a row, and its inputs filled up to them
  int values, scales, sums, partial, statistics, pairs, end;  ///< the ring comes first

  template <typename Decoder>
  static __host__ __device__ SharedLayout of(DType type, int cols, int rows, int stages) {
    const int inputs = inputs_of(type), column_tiles = rows > 8 ? 2 : 1;
    SharedLayout at;
    at.steps = (cols + inputs - 1) / inputs;
    at.padded = (cols + kScaledInputs - 1) / kScaledInputs * kScaledInputs;
    const int scaled = at.padded / kScaledInputs * rows;
    at.values = kWarps * stages * stage_bytes(type);
    at.sums = at.values + at.padded * rows * 2;
    at.partial = at.sums + (Decoder::kSums ? scaled * 32 : 0);
    at.statistics = at.partial + 2 * kWarps * column_tiles * kTileRows * 8 * 4;
    at.pairs = at.statistics + static_cast<int>(sizeof(Statistics));
    at.scales = at.pairs + static_cast<int>(sizeof(PairSums));
    at.end = at.scales + (Decoder::kHalf ? scaled * 4 : 0);
    return at;
  }
};

/// The output of a tile that a thread makes: column n of row i.
template <typename T, int kMostRows>
class Output {
 public:
  static constexpr int kColumnTiles = (kMostRows + 7) / 8;

  /// Behind the barrier of the statistics.
  __device__ Output(const Arguments& a, const Statistics& found)
      : n_(threadIdx.x / kTileRows),
        i_(threadIdx.x % kTileRows),
        exists_(n_ < (kMostRows == 1 ? 1 : a.rows)) {
    if (exists_) factor_ = factor_after<T>(a, found, n_);
  }
  /// Goes to another tile. What is added to is read at once, long before it is needed.
  __device__ void begin(const TileRows& rows) {
    const Segment& s = rows.segment;
    m_ = rows.tile * s.step + i_ / 8 * s.second + i_ % 8;
    stored_ = exists_ && m_ < s.rows && !(s.swiglu && i_ >= 8);
    if (stored_) old_ = old_output(s, n_, m_);
  }
  /// Adds up the warps' sums and stores. partial: [kWarps][column tile][16][8].
  __device__ void store(const Segment& s, const float* partial) const {
    if (!stored_) return;
    const float value = s.swiglu ? total(partial, i_) * silu(total(partial, i_ + 8)) : total(partial, i_);
    put_output(s, n_, m_, old_ + value);
  }

 private:
  __device__ float total(const float* partial, int i) const {
    float sum = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      sum += partial[((w * kColumnTiles + n_ / 8) * kTileRows + i) * 8 + n_ % 8];
    }
    return sum * factor_;
  }

  int n_, i_, m_ = 0;
  bool exists_, stored_ = false;
  float old_ = 0, factor_ = 1;
};

template <DType kType, typename T, int kMostRows>
__global__ void __launch_bounds__(kThreads, 2) product(const __grid_constant__ Arguments a) {
  using D = Decoder<kType>;
  using X = Activations<kMostRows>;
  extern __shared__ __align__(128) std::byte shared[];
  const auto layout = SharedLayout::of<D>(kType, a.cols, a.rows, a.stages);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const Staged staged = {shared + layout.values, shared + layout.scales, shared + layout.sums};
  auto* partial = reinterpret_cast<float*>(shared + layout.partial);
  auto& statistics = *reinterpret_cast<Statistics*>(shared + layout.statistics);
  auto& pair_sums = *reinterpret_cast<PairSums*>(shared + layout.pairs);

  WeightStream<kType> weights(a, shared + warp * a.stages * stage_bytes(kType), warp, layout.steps);
  FirstPair<float, kPiece> pair(a, pair_sums);
  const NormWeights<T, kPiece> norm_weights(a, threadIdx.x * kPiece);
  wait_for_previous_kernel();
  // Not earlier: now the kernel before is gone from every multiprocessor, so the next one's blocks spread
  // evenly.
  let_dependents_start();
  if (is_layer_norm<T>(a)) {
    reduce_rows<T, false, kPiece>(a, statistics);
    reduce_rows<T, true, kPiece>(a, statistics);
  }
  stage_input<T, kMostRows, D::kHalf, D::kOrder, D::kSums>(a, norm_weights, pair, layout.padded, statistics,
                                                           staged);

  const X x(staged, a.rows);
  Output<T, kMostRows> output(a, statistics);
  constexpr int kPartial = kWarps * X::kColumnTiles * kTileRows * 8;
#pragma unroll 1
  for (int tile = blockIdx.x, turn = 0; tile < a.tiles; tile += gridDim.x, turn ^= 1) {
    const Segment& s = segment_of(a.segment, a.segments, tile);
    const TileRows rows{s, tile - s.first_tile};
    output.begin(rows);
    const int own[2] = {rows.row(0, lane / 4), rows.row(1, lane / 4)};
    float sum[X::kColumnTiles][4] = {};
#pragma unroll 1
    for (int step = warp; step < layout.steps; step += kWarps) {
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
    __syncthreads();
    output.store(s, of_turn);
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
  config.numAttrs = dependent && launches_dependents() ? 1 : 0;
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
  int rows = a.rows;
  const auto need = [&](int part, int stages) {
    return SharedLayout::of<Decoder<kType>>(kType, a.cols, part, stages).end;
  };
  while (rows > 1 && need(rows, 2) > limits.shared) rows = (rows + 1) / 2;
  const int room = need(rows, 2) <= limits.shared_of_two ? limits.shared_of_two : limits.shared;
  int stages = 2;
  while (stages < kMostStages && need(rows, stages + 1) <= std::min(room, limits.shared)) ++stages;
  // Twice as many warps where even two blocks' rings hold less than a multiprocessor's share of the weights,
  // and the activations, which each block stages, are little beside it.
  const std::int64_t steps = (a.cols + inputs_of(kType) - 1) / inputs_of(kType);
  const std::int64_t in_rings = std::int64_t{2} * kWarps * stages * limits.multiprocessors;
  const bool twice = room == limits.shared_of_two && a.tiles * steps >= in_rings * a.rows;
  const int blocks = std::min((twice ? 2 : 1) * limits.multiprocessors, std::max(a.tiles, a.pairs));
  for (int first = 0; first < a.rows; first += rows) {
    Arguments part = rows_of(a, first, std::min(rows, a.rows - first));
    part.stages = stages;
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
