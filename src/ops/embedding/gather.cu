#include "core/cuda/runtime.h"
#include "ops/embedding/gather_cuda.h"

namespace mamba3::cuda {
namespace {

// A block a row; a thread takes 8 neighbouring values at a time.
__global__ void gather_rows_kernel(const __nv_bfloat16* table, std::int64_t width, const std::int32_t* ids,
                                   float* out) {
  const std::int64_t row = blockIdx.x;
  const __nv_bfloat16* const from = table + ids[row] * width;
  for (std::int64_t i = 8 * threadIdx.x; i < width; i += 8 * blockDim.x) {
    const uint4 octet = *reinterpret_cast<const uint4*>(from + i);
    const auto* pairs = reinterpret_cast<const __nv_bfloat162*>(&octet);
    const float2 a = __bfloat1622float2(pairs[0]), b = __bfloat1622float2(pairs[1]);
    const float2 c = __bfloat1622float2(pairs[2]), d = __bfloat1622float2(pairs[3]);
    auto* const to = reinterpret_cast<float4*>(out + row * width + i);
    to[0] = {a.x, a.y, b.x, b.y};
    to[1] = {c.x, c.y, d.x, d.y};
  }
}

}  // namespace

void gather_rows(const __nv_bfloat16* table, std::int64_t width, const std::int32_t* ids, std::int64_t rows,
                 float* out, cudaStream_t stream) {
  if (rows == 0) return;
  gather_rows_kernel<<<static_cast<unsigned>(rows), 256, 0, stream>>>(table, width, ids, out);
  check_launch("gather_rows");
}

}  // namespace mamba3::cuda
