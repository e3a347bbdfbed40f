#include "core/cuda/dependent.cuh"
#include "ops/swiglu/gated_cuda.h"

namespace mamba3::cuda {
namespace {

constexpr int kThreads = 256;

__device__ float2 gated_pair(__nv_bfloat162 value, __nv_bfloat162 gate) {
  const float2 v = __bfloat1622float2(value), g = __bfloat1622float2(gate);
  return {v.x * __fdividef(g.x, 1 + __expf(-g.x)), v.y * __fdividef(g.y, 1 + __expf(-g.y))};
}

// Grid: rows, pieces of a row; a thread makes 8 neighbouring values.
__global__ void __launch_bounds__(kThreads)
    gated_kernel(const __nv_bfloat16* up_gate, int width, __nv_bfloat16* out) {
  let_dependents_start();
  wait_for_previous_kernel();
  const int i = 8 * static_cast<int>(blockIdx.y * kThreads + threadIdx.x);
  if (i >= width) return;
  const std::int64_t row = blockIdx.x;
  const __nv_bfloat16* const from = up_gate + row * 2 * width + i;
  const uint4 value = *reinterpret_cast<const uint4*>(from);
  const uint4 gate = *reinterpret_cast<const uint4*>(from + width);
  const auto* v = reinterpret_cast<const __nv_bfloat162*>(&value);
  const auto* g = reinterpret_cast<const __nv_bfloat162*>(&gate);
  uint4 result;
  auto* r = reinterpret_cast<__nv_bfloat162*>(&result);
#pragma unroll
  for (int pair = 0; pair < 4; ++pair) r[pair] = __float22bfloat162_rn(gated_pair(v[pair], g[pair]));
  *reinterpret_cast<uint4*>(out + row * width + i) = result;
}

}  // namespace

void gated(const __nv_bfloat16* up_gate, std::int64_t rows, std::int64_t width, __nv_bfloat16* out,
           cudaStream_t stream) {
  if (rows == 0) return;
  const dim3 grid(static_cast<unsigned>(rows), static_cast<unsigned>((width / 8 + kThreads - 1) / kThreads));
  launch_dependent("gated", gated_kernel, grid, kThreads, stream, up_gate, static_cast<int>(width), out);
}

}  // namespace mamba3::cuda
