#include "core/cuda/runtime.h"
#include "ops/embedding/embedding_cuda.h"
#include "ops/linear/cuda/decode_cuda.cuh"

namespace mamba3::cuda {
namespace {

constexpr int kThreads = 256;

// A block a token: d_model 2048 is eight values a thread.
template <DType kType>
__global__ void look_up(DeviceMatrix table, const std::int32_t* ids, float* all_out) {
  const std::int64_t row = ids[blockIdx.x];
  float* out = all_out + blockIdx.x * table.cols;
  for (std::int64_t col = threadIdx.x * kEight; col < table.cols; col += kThreads * kEight) {
    Eight<kType> stored;
    stored.load(table, row, col);
    float values[kEight];
    stored.decode(values);
    if (table.cols % kEight == 0) {  // every row of out begins on a boundary of 16 bytes
      auto* to = reinterpret_cast<float4*>(out + col);
      to[0] = {values[0], values[1], values[2], values[3]};
      to[1] = {values[4], values[5], values[6], values[7]};
      continue;
    }
#pragma unroll
    for (int i = 0; i < kEight; ++i) {
      if (col + i < table.cols) out[col + i] = values[i];
    }
  }
}

}  // namespace

void embedding(const DeviceMatrix& table, const std::int32_t* ids, std::int64_t count, float* out,
               cudaStream_t stream) {
  if (count == 0) return;
  with_weight_type(table.dtype, [&](auto type) {
    look_up<type()><<<static_cast<unsigned>(count), kThreads, 0, stream>>>(table, ids, out);
  });
  check_launch("embedding");
}

}  // namespace mamba3::cuda
