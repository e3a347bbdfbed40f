#include "core/cuda/dependent.cuh"
#include "ops/norm/norm_bf16_cuda.h"

namespace mamba3::cuda {
namespace {

constexpr float kEps = 1e-5f;

__device__ float block_sum(float v) {
  __shared__ float warps[32];
  for (int lane = 16; lane > 0; lane /= 2) v += __shfl_xor_sync(~0u, v, lane);
  if (blockDim.x == 32) return v;
  __syncthreads();  // an earlier sum has been read
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = v;
  __syncthreads();
  v = threadIdx.x % 32 < blockDim.x / 32 ? warps[threadIdx.x % 32] : 0;
  for (int lane = 16; lane > 0; lane /= 2) v += __shfl_xor_sync(~0u, v, lane);
  return v;
}

struct Octet {
  float v[8];
};

__device__ Octet load(const float* from) {
  const float4 a = reinterpret_cast<const float4*>(from)[0], b = reinterpret_cast<const float4*>(from)[1];
  return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

__device__ Octet rounded(const Octet& o) {
  Octet result;
  for (int i = 0; i < 8; ++i) result.v[i] = __bfloat162float(__float2bfloat16(o.v[i]));
  return result;
}

__device__ void store(const Octet& o, __nv_bfloat16* to) {
  alignas(16) __nv_bfloat162 pairs[4];
  for (int i = 0; i < 4; ++i) pairs[i] = __floats2bfloat162_rn(o.v[2 * i], o.v[2 * i + 1]);
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(pairs);
}

// A block a row; a thread holds kOctets times 8 neighbouring values.
template <int kOctets>
__global__ void norm_rows_kernel(NormWeights weights, const float* residual, NormedRows form,
                                 __nv_bfloat16* out) {
  let_dependents_start();
  wait_for_previous_kernel();
  const int width = static_cast<int>(weights.width);
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * width;
  const auto place = [&](int o) { return 8 * static_cast<int>(o * blockDim.x + threadIdx.x); };
  Octet x[kOctets];
  float sum = 0;
#pragma unroll
  for (int o = 0; o < kOctets; ++o) x[o] = place(o) < width ? load(residual + row + place(o)) : Octet{};
  const float scale = 1.0f / static_cast<float>(width);
  if (weights.bias != nullptr) {
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      for (int i = 0; i < 8; ++i) sum += x[o].v[i];
    }
    const float mean = block_sum(sum) * scale;
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      for (int i = 0; i < 8; ++i) x[o].v[i] = place(o) < width ? x[o].v[i] - mean : 0;
    }
  }
  float squares = 0;
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
    for (int i = 0; i < 8; ++i) squares += x[o].v[i] * x[o].v[i];
  }
  const float inverse = rsqrtf(block_sum(squares) * scale + kEps);
#pragma unroll
  for (int o = 0; o < kOctets; ++o) {
    if (place(o) >= width) continue;
    const Octet gain = load(weights.weight + place(o));
    for (int i = 0; i < 8; ++i) x[o].v[i] *= inverse * gain.v[i];
    if (weights.bias != nullptr) {
      const Octet bias = load(weights.bias + place(o));
      for (int i = 0; i < 8; ++i) x[o].v[i] += bias.v[i];
    }
    if (form == NormedRows::bf16) {
      store(x[o], out + row + place(o));
      continue;
    }
    __nv_bfloat16* const parts = out + 3 * row + place(o);
    const Octet high = rounded(x[o]);
    store(high, parts + width);
    store(high, parts + 2 * width);
    for (int i = 0; i < 8; ++i) x[o].v[i] -= high.v[i];
    store(x[o], parts);
  }
}

}  // namespace

void norm_rows(const NormWeights& weights, const float* residual, std::int64_t rows, NormedRows form,
               __nv_bfloat16* out, cudaStream_t stream) {
  constexpr int kOctets = 2;
  if (rows == 0) return;
  const auto octets = static_cast<unsigned>((weights.width / 8 + kOctets - 1) / kOctets);
  launch_dependent("norm_rows", norm_rows_kernel<kOctets>, dim3(static_cast<unsigned>(rows)),
                   (octets + 31) / 32 * 32, stream, weights, residual, form, out);
}

}  // namespace mamba3::cuda
