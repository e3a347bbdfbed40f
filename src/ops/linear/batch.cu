// A block makes 128 outputs of all rows from a part of the inputs: 8 warps, 32 outputs and half of the rows
// each, on tensor cores; copies run kStages - 1 steps of 64 inputs ahead.
#include <cooperative_groups.h>

#include <algorithm>

#include "core/cuda/dependent.cuh"
#include "core/cuda/mma.cuh"
#include "core/cuda/runtime.h"
#include "ops/linear/batch_cuda.h"

namespace mamba3::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 128;  // outputs of a block
constexpr int kStep = 64;   // inputs of a stage: rows of 128 bytes in shared memory
constexpr int kRowBytes = 2 * kStep;
constexpr int kStages = 3;
constexpr int kSumStride = kTile + 4;  // floats: lanes that write 4 rows and 8 outputs meet 32 banks
constexpr int kMostSplits = 8;         // blocks of a portable cluster
// Two blocks a multiprocessor of a large GPU (132 on an H100), three with up to 64 rows: blocks beyond that
// wait.
constexpr int kMostBlocks = 2 * 144;

struct Arguments {
  BatchProduct products[kMostBatchProducts];
  int rows;
  int splits;
};

template <int kRows>
constexpr int stage_bytes() {
  return (kTile + kRows) * kRowBytes;
}
template <int kRows>
constexpr int shared_bytes() {
  return std::max(kStages * stage_bytes<kRows>(), kRows * kSumStride * 4);
}

// Chunks of 16 bytes are exchanged within a row, so that the 8 rows which a matrix load touches meet all
// banks.
__device__ std::uint32_t chunk_offset(int row, int chunk) {
  return static_cast<std::uint32_t>(row * kRowBytes + ((chunk ^ (row & 7)) << 4));
}

// `kCount` rows of 64 values each from a row-major matrix; zeros outside of it.
template <int kCount>
__device__ void copy_rows(std::uint32_t to, const __nv_bfloat16* from, std::int64_t stride, int rows,
                          std::int64_t first, std::int64_t inputs) {
  const int chunk = threadIdx.x % 8;
  const bool inside = first + 8 * chunk < inputs;
#pragma unroll
  for (int i = 0; i < kCount / 32; ++i) {
    const int row = static_cast<int>(threadIdx.x) / 8 + 32 * i;
    const bool valid = inside && row < rows;
    copy_async(to + chunk_offset(row, chunk), valid ? from + row * stride + first + 8 * chunk : from, valid);
  }
}

// sums[2][kRows / 16][4] += 32 outputs x kRows / 2 rows of a stage.
template <int kRows>
__device__ void multiply_stage(float (&sums)[2][kRows / 16][4], std::uint32_t W, std::uint32_t x) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int output = warp % 4 * 32 + lane % 16, row = warp / 4 * (kRows / 2) + lane % 8 + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kStep / 16; ++k) {
    std::uint32_t a[2][4];
#pragma unroll
    for (int i = 0; i < 2; ++i) load_tiles(a[i], W + chunk_offset(output + 16 * i, 2 * k + lane / 16));
#pragma unroll
    for (int j = 0; j < kRows / 32; ++j) {
      std::uint32_t b[4];
      load_tiles(b, x + chunk_offset(row + 16 * j, 2 * k + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        multiply_add(sums[i][2 * j], a[i], b[0], b[1]);
        multiply_add(sums[i][2 * j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

// [kRows, kSumStride]: outputs of a row are neighbours.
template <int kRows>
__device__ void store_sums(const float (&sums)[2][kRows / 16][4], float* to) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int output = warp % 4 * 32 + lane / 4, row = warp / 4 * (kRows / 2) + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < kRows / 16; ++j) {
      float* const at = to + (row + 8 * j) * kSumStride + output + 16 * i;
      at[0] = sums[i][j][0];
      at[kSumStride] = sums[i][j][1];
      at[8] = sums[i][j][2];
      at[kSumStride + 8] = sums[i][j][3];
    }
  }
}

__device__ void finish(const BatchProduct& p, std::int64_t row, std::int64_t output, const float4& sum) {
  const float v[4] = {sum.x, sum.y, sum.z, sum.w};
  const std::int64_t at = row * p.y_stride + output;
  auto* const y = static_cast<float*>(p.y) + at;
  auto* const narrow = static_cast<__nv_bfloat16*>(p.y) + at;
  if (output + 4 <= p.outputs && p.y_stride % 4 == 0) {
    if (p.output == GemmOutput::bf16) {
      *reinterpret_cast<uint2*>(narrow) = {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3])};
      return;
    }
    const float4 before = p.output == GemmOutput::add_f32 ? *reinterpret_cast<float4*>(y) : float4{};
    *reinterpret_cast<float4*>(y) = {before.x + v[0], before.y + v[1], before.z + v[2], before.w + v[3]};
    return;
  }
  for (int i = 0; i < 4 && output + i < p.outputs; ++i) {
    if (p.output == GemmOutput::bf16) {
      narrow[i] = __float2bfloat16(v[i]);
    } else {
      y[i] = (p.output == GemmOutput::add_f32 ? y[i] : 0) + v[i];
    }
  }
}

__device__ void synchronize_splits(int splits) {
#if __CUDA_ARCH__ >= 900
  if (splits > 1) return cooperative_groups::this_cluster().sync();
#endif
  __syncthreads();
}

// The same place of another split's shared memory.
__device__ const float* of_split(float* mine, int splits, int split) {
#if __CUDA_ARCH__ >= 900
  if (splits > 1)
    return cooperative_groups::this_cluster().map_shared_rank(mine, static_cast<unsigned>(split));
#endif
  return mine;
}

// Grid: the products' tiles of outputs, `splits` blocks each, which are a cluster.
template <int kRows>
__global__ void __launch_bounds__(kThreads, kRows <= 64 ? 3 : 2)
    batch_kernel(const __grid_constant__ Arguments a) {
  extern __shared__ __align__(128) std::byte memory[];
  let_dependents_start();
  const int split = static_cast<int>(blockIdx.x) % a.splits;
  int tile = static_cast<int>(blockIdx.x) / a.splits, which = 0;
  const auto tiles = [&] { return static_cast<int>((a.products[which].outputs + kTile - 1) / kTile); };
  for (; tile >= tiles(); ++which) tile -= tiles();
  const BatchProduct& p = a.products[which];

  const std::int64_t steps = (p.inputs + kStep - 1) / kStep;
  const std::int64_t begin = steps * split / a.splits, end = steps * (split + 1) / a.splits;
  const std::int64_t first_output = std::int64_t{kTile} * tile;
  const __nv_bfloat16* const W = p.W + first_output * p.inputs;
  const int outputs = static_cast<int>(std::min<std::int64_t>(kTile, p.outputs - first_output));
  const std::uint32_t stages = shared_address(memory);
  const auto stage = [&](std::int64_t step) {
    return stages + static_cast<std::uint32_t>((step - begin) % kStages) * stage_bytes<kRows>();
  };
  const auto copy_weights = [&](std::int64_t step) {
    if (step < end) copy_rows<kTile>(stage(step), W, p.inputs, outputs, step * kStep, p.inputs);
  };
  const auto copy_input = [&](std::int64_t step) {
    if (step < end) {
      copy_rows<kRows>(stage(step) + kTile * kRowBytes, p.x, p.x_stride, a.rows, step * kStep, p.inputs);
    }
    commit_copies();
  };

  for (int i = 0; i < kStages - 1; ++i) copy_weights(begin + i);
  wait_for_previous_kernel();
  for (int i = 0; i < kStages - 1; ++i) copy_input(begin + i);
  float sums[2][kRows / 16][4] = {};
  for (std::int64_t step = begin; step < end; ++step) {
    wait_copies<kStages - 2>();
    __syncthreads();  // the stage is there for all, and the one to be filled next has been read
    copy_weights(step + kStages - 1);
    copy_input(step + kStages - 1);
    multiply_stage<kRows>(sums, stage(step), stage(step) + kTile * kRowBytes);
  }
  wait_copies<0>();
  __syncthreads();
  float* const mine = reinterpret_cast<float*>(memory);
  store_sums<kRows>(sums, mine);
  synchronize_splits(a.splits);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  for (int row = split + a.splits * warp; row < a.rows; row += a.splits * (kThreads / 32)) {
    float4 sum = {};
    for (int s = 0; s < a.splits; ++s) {
      const float4 part =
          reinterpret_cast<const float4*>(of_split(mine, a.splits, s) + row * kSumStride)[lane];
      sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
    }
    if (first_output + 4 * lane < p.outputs) finish(p, row, first_output + 4 * lane, sum);
  }
  synchronize_splits(a.splits);  // others have read my sums
}

template <int kRows>
void launch(const Arguments& arguments, int tiles, bool dependent, cudaStream_t stream) {
  constexpr int kBytes = shared_bytes<kRows>();
  check(cudaFuncSetAttribute(batch_kernel<kRows>, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "asking for shared memory");
  cudaLaunchAttribute attributes[2];
  attributes[0].id = cudaLaunchAttributeClusterDimension;
  attributes[0].val.clusterDim = {static_cast<unsigned>(arguments.splits), 1, 1};
  attributes[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[1].val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(tiles * arguments.splits));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = dependent ? 2 : 1;
  check(cudaLaunchKernelEx(&config, batch_kernel<kRows>, arguments), "batch_linear");
}

}  // namespace

void batch_linear(std::span<const BatchProduct> products, int rows, bool dependent, cudaStream_t stream) {
  Arguments arguments{{}, rows, 1};
  std::copy(products.begin(), products.end(), arguments.products);
  int tiles = 0;
  for (const BatchProduct& p : products) tiles += static_cast<int>((p.outputs + kTile - 1) / kTile);
  while (arguments.splits < kMostSplits && 2 * arguments.splits * tiles <= kMostBlocks) arguments.splits *= 2;
  const auto run = rows <= 32 ? launch<32> : rows <= 64 ? launch<64> : rows <= 96 ? launch<96> : launch<128>;
  run(arguments, tiles, dependent, stream);
}

}  // namespace mamba3::cuda
