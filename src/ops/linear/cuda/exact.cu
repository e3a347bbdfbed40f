#include "ops/linear/cuda/exact_cuda.h"

#include "core/cuda/runtime.h"
#include "ops/linear/cuda/decode_cuda.cuh"

namespace mamba3::cuda {
namespace {

// A block makes kRows x kOutputs of y from slices of kDepth inputs; a thread kHigh x kWide of them, kDown and
// kAcross apart. While one slice is multiplied out of shared memory, the next is on its way to registers, as
// it is stored.
template <int kTileRows, int kTileOutputs, int kTileDepth, int kTileHigh, int kTileWide>
struct Tile {
  static constexpr int kRows = kTileRows, kOutputs = kTileOutputs, kDepth = kTileDepth;
  static constexpr int kHigh = kTileHigh, kWide = kTileWide;
  static constexpr int kDown = kRows / kHigh, kAcross = kOutputs / kWide;
  static constexpr int kThreads = kDown * kAcross;
  // A row of a slice in shared memory: a multiple of 4 floats for vectors, and of 4 modulo 8 so that eight
  // neighbouring rows lie in different banks.
  static constexpr int kStride = kDepth + 4;
};

// 16 multiply-adds for each vector from shared memory.
using Large = Tile<128, 128, 16, 8, 8>;
// Where large tiles are too few to fill the device.
using Small = Tile<32, 64, 64, 4, 4>;
// A few rows, bound by memory: deep slices, so that a block has 16 KB of bf16 weights on their way.
using Few = Tile<8, 64, 128, 4, 1>;

constexpr int kVector = 4;  // inputs that are read from shared memory at once

// kDepth inputs of kSliceRows rows of a matrix on their way to [kSliceRows][kStride]. Neighbouring threads
// take neighbouring eights of a row.
template <typename T, int kSliceRows, DType kType>
struct Slice {
  static constexpr int kAlong = T::kDepth / kEight;
  static constexpr int kCount = kSliceRows * kAlong / T::kThreads;
  Eight<kType> stored[kCount];

  __device__ static int row(int i) { return (threadIdx.x + i * T::kThreads) / kAlong; }
  __device__ static int depth(int i) { return (threadIdx.x + i * T::kThreads) % kAlong * kEight; }

  __device__ void load(const DeviceMatrix& M, std::int64_t first, std::int64_t k) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const std::int64_t at = min(first + row(i), M.rows - 1);  // what is too much is not written
      if (k + depth(i) < M.cols) stored[i].load(M, at, k + depth(i));
    }
  }
  // Inputs behind the row are zeros.
  __device__ void store(const DeviceMatrix& M, std::int64_t k, float* to) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      float v[kEight] = {};
      if (k + depth(i) < M.cols) stored[i].decode(v);
      auto* vectors = reinterpret_cast<float4*>(to + row(i) * T::kStride + depth(i));
      vectors[0] = make_float4(v[0], v[1], v[2], v[3]);
      vectors[1] = make_float4(v[4], v[5], v[6], v[7]);
    }
  }
};

__device__ inline float4 vector_at(const float* from) {
  return *reinterpret_cast<const float4*>(from);
}

template <typename T, DType kType>
__global__ void __launch_bounds__(T::kThreads) product(DeviceMatrix W, DeviceMatrix x, float* y, bool add) {
  __shared__ __align__(16) float tile_x[T::kRows * T::kStride];
  __shared__ __align__(16) float tile_w[T::kOutputs * T::kStride];
  const std::int64_t first_output = blockIdx.x * std::int64_t{T::kOutputs};
  const std::int64_t first_row = blockIdx.y * std::int64_t{T::kRows};
  const int across = threadIdx.x % T::kAcross, down = threadIdx.x / T::kAcross;

  Slice<T, T::kOutputs, kType> next_w;
  Slice<T, T::kRows, DType::f32> next_x;
  float sum[T::kHigh][T::kWide] = {};
  next_w.load(W, first_output, 0);
  next_x.load(x, first_row, 0);
  for (std::int64_t k = 0; k < W.cols; k += T::kDepth) {
    next_w.store(W, k, tile_w);
    next_x.store(x, k, tile_x);
    __syncthreads();
    next_w.load(W, first_output, k + T::kDepth);
    next_x.load(x, first_row, k + T::kDepth);
#pragma unroll
    for (int i = 0; i < T::kDepth; i += kVector) {
      float4 left[T::kHigh];
#pragma unroll
      for (int h = 0; h < T::kHigh; ++h) left[h] = vector_at(tile_x + (h * T::kDown + down) * T::kStride + i);
#pragma unroll
      for (int w = 0; w < T::kWide; ++w) {
        const float4 right = vector_at(tile_w + (w * T::kAcross + across) * T::kStride + i);
#pragma unroll
        for (int h = 0; h < T::kHigh; ++h) {
          sum[h][w] = fmaf(left[h].x, right.x, sum[h][w]);
          sum[h][w] = fmaf(left[h].y, right.y, sum[h][w]);
          sum[h][w] = fmaf(left[h].z, right.z, sum[h][w]);
          sum[h][w] = fmaf(left[h].w, right.w, sum[h][w]);
        }
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int h = 0; h < T::kHigh; ++h) {
    const std::int64_t row = first_row + h * T::kDown + down;
#pragma unroll
    for (int w = 0; w < T::kWide; ++w) {
      const std::int64_t output = first_output + w * T::kAcross + across;
      if (row >= x.rows || output >= W.rows) continue;
      float& to = y[row * W.rows + output];
      // Zeros behind a row, whose number depends on the tile, make a zero of a minus zero: so does the sum.
      to = (add ? to : 0.0f) + sum[h][w];
    }
  }
}

template <typename T>
void launch(const DeviceMatrix& W, const DeviceMatrix& x, float* y, bool add, cudaStream_t stream) {
  const auto tiles = [](std::int64_t count, int size) {
    return static_cast<unsigned>((count + size - 1) / size);
  };
  const dim3 grid(tiles(W.rows, T::kOutputs), tiles(x.rows, T::kRows));
  with_weight_type(W.dtype,
                   [&](auto type) { product<T, type()><<<grid, T::kThreads, 0, stream>>>(W, x, y, add); });
  check_launch("exact_linear");
}

}  // namespace

void exact_linear(const DeviceMatrix& W, const float* x, std::int64_t rows, float* y, bool add,
                  cudaStream_t stream) {
  if (rows == 0 || W.rows == 0) return;
  const DeviceMatrix input = matrix_at(DType::f32, rows, W.cols, reinterpret_cast<const std::byte*>(x));
  // Fewer large tiles than this leave multiprocessors empty (an H200 has 132).
  constexpr std::int64_t kEnoughTiles = 128;
  const std::int64_t large =
      (rows + Large::kRows - 1) / Large::kRows * (W.rows + Large::kOutputs - 1) / Large::kOutputs;
  const auto run = rows <= 2 * Few::kRows ? launch<Few>
                   : large < kEnoughTiles ? launch<Small>
                                          : launch<Large>;
  run(W, input, y, add, stream);
}

}  // namespace mamba3::cuda
