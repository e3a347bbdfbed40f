#include "core/cuda/runtime.h"
#include "core/splitmix.h"
#include "ops/ceiling/probes_cuda.h"

namespace mamba3::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kLoads = 8;  // of 16 bytes, in flight together
constexpr std::size_t kBlockReads = std::size_t{kThreads} * kLoads;
static_assert(kBlockReads * sizeof(uint4) == kReadUnit);

__global__ void __launch_bounds__(kThreads) read_all_kernel(const uint4* from, std::uint32_t* sink) {
  const uint4* const mine = from + blockIdx.x * kBlockReads + threadIdx.x;
  uint4 v[kLoads];
#pragma unroll
  for (int i = 0; i < kLoads; ++i) v[i] = __ldcs(mine + i * kThreads);
  std::uint32_t all = 0;
#pragma unroll
  for (int i = 0; i < kLoads; ++i) all ^= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
  if (all == 0x9e3779b9) *sink = all;
}

__global__ void fill_random_kernel(__nv_bfloat16* to, std::int64_t count, std::uint64_t seed) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  to[i] = __float2bfloat16(2 * static_cast<float>(random_uniform(seed, static_cast<std::uint64_t>(i))) - 1);
}

}  // namespace

void read_all(const std::byte* from, std::size_t bytes, std::uint32_t* sink, cudaStream_t stream) {
  read_all_kernel<<<static_cast<unsigned>(bytes / kReadUnit), kThreads, 0, stream>>>(
      reinterpret_cast<const uint4*>(from), sink);
  check_launch("read_all");
}

void fill_random(__nv_bfloat16* to, std::int64_t count, std::uint64_t seed, cudaStream_t stream) {
  fill_random_kernel<<<static_cast<unsigned>((count + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
      to, count, seed);
  check_launch("fill_random");
}

}  // namespace mamba3::cuda
