#include "ops/linear/cuda/planes_cuda.h"

#include <bit>

#include "core/cuda/runtime.h"
#include "ops/linear/cuda/decode_cuda.cuh"

namespace mamba3::cuda {
namespace {

constexpr int kThreads = 256;

// One field of all blocks: bytes [offset, offset + 2^log_bytes) of blocks that are `block` bytes apart become
// a plane. A thread gathers four bytes of it, or what is left: blocks may begin anywhere.
__global__ void cut_field(const std::byte* stored, std::int64_t block, int offset, int log_bytes,
                          std::int64_t size, std::byte* plane) {
  const std::int64_t to = 4 * (blockIdx.x * std::int64_t{kThreads} + threadIdx.x);
  if (to >= size) return;
  const std::int64_t mask = (std::int64_t{1} << log_bytes) - 1;
  const auto byte = [&](std::int64_t i) { return stored[(i >> log_bytes) * block + offset + (i & mask)]; };
  if (to + 4 <= size && reinterpret_cast<std::uintptr_t>(plane) % 4 == 0) {
    unsigned word = 0;
    for (int i = 0; i < 4; ++i) word |= static_cast<unsigned>(byte(to + i)) << 8 * i;
    *reinterpret_cast<unsigned*>(plane + to) = word;
  } else {
    for (std::int64_t i = to; i < size && i < to + 4; ++i) plane[i] = byte(i);
  }
}

__device__ void store_bf16(const float (&values)[kEight], __nv_bfloat16* to) {
  __nv_bfloat162 rounded[kEight / 2];
#pragma unroll
  for (int i = 0; i < kEight / 2; ++i) {
    rounded[i] = __floats2bfloat162_rn(values[2 * i], values[2 * i + 1]);
  }
  uint4 bits;
  memcpy(&bits, rounded, sizeof bits);
  *reinterpret_cast<uint4*>(to) = bits;
}

// A warp a row, so that no thread divides to find its place; a thread has four loads under way.
template <DType kType>
__global__ void unpack(DeviceMatrix W, std::int64_t first, std::int64_t count, __nv_bfloat16* out) {
  constexpr int kAtOnce = 4, kStep = 32 * kEight;
  const std::int64_t row = blockIdx.x * std::int64_t{kThreads / 32} + threadIdx.x / 32;
  if (row >= count) return;
  out += row * W.cols;
  for (std::int64_t col = threadIdx.x % 32 * kEight; col < W.cols; col += kAtOnce * kStep) {
    Eight<kType> stored[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (col + i * kStep < W.cols) stored[i].load(W, first + row, col + i * kStep);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (col + i * kStep >= W.cols) continue;
      float values[kEight];
      stored[i].decode(values);
      store_bf16(values, out + col + i * kStep);
    }
  }
}

std::int64_t block_bytes(const PlaneTable& table) {
  std::int64_t bytes = 0;
  for (const PlaneField& field : table.fields) bytes += field.bytes;
  return bytes;
}

unsigned blocks_for(std::int64_t threads) {
  return static_cast<unsigned>((threads + kThreads - 1) / kThreads);
}

}  // namespace

void cut_planes(DType type, std::int64_t rows, std::int64_t cols, const std::byte* stored, std::int64_t first,
                std::int64_t count, std::byte* memory, cudaStream_t stream) {
  const PlaneTable table = planes_of(type);
  const DeviceMatrix W = matrix_at(type, rows, cols, memory);
  const std::int64_t blocks = count * W.blocks();
  if (blocks == 0) return;
  for (std::size_t i = 0; i < table.fields.size() && table.fields[i].bytes > 0; ++i) {
    const auto [offset, bytes] = table.fields[i];
    std::byte* plane = memory + (W.planes[i] - memory) + first * W.blocks() * bytes;
    const std::int64_t size = blocks * bytes;
    cut_field<<<blocks_for((size + 3) / 4), kThreads, 0, stream>>>(
        stored, block_bytes(table), offset, std::countr_zero(static_cast<unsigned>(bytes)), size, plane);
    check_launch("cut_planes");
  }
}

DeviceMatrix rows_of(const DeviceMatrix& W, std::int64_t first, std::int64_t count) {
  const PlaneTable table = planes_of(W.dtype);
  DeviceMatrix part = W;
  part.rows = count;
  for (std::size_t i = 0; i < table.fields.size() && table.fields[i].bytes > 0; ++i) {
    part.planes[i] += first * W.blocks() * table.fields[i].bytes;
  }
  return part;
}

void unpack_bf16(const DeviceMatrix& W, std::int64_t first, std::int64_t count, __nv_bfloat16* out,
                 cudaStream_t stream) {
  if (count == 0) return;
  with_weight_type(W.dtype, [&](auto type) {
    unpack<type()><<<blocks_for(32 * count), kThreads, 0, stream>>>(W, first, count, out);
  });
  check_launch("unpack_bf16");
}

}  // namespace mamba3::cuda
