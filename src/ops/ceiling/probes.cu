#include "core/cuda/runtime.h"
#include "core/splitmix.h"
#include "ops/ceiling/probes_cuda.h"

namespace mamba3::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kLoads = 4;  // 16 bytes each in flight a thread: 128 KB a multiprocessor, four times what its
                           // share of 5 TB/s holds for a latency of a microsecond

__global__ void __launch_bounds__(kThreads)
    read_all_kernel(const uint4* from, std::size_t count, std::uint32_t* sink) {
  std::uint32_t all = 0;
  const std::size_t first = static_cast<std::size_t>(blockIdx.x) * kThreads * kLoads + threadIdx.x;
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
    const std::size_t at = first + i * kThreads;
    if (at >= count) continue;
    const uint4 v = __ldcs(from + at);
    all ^= v.x ^ v.y ^ v.z ^ v.w;
  }
  if (all == 0x9e3779b9) *sink = all;
}

// splitmix in 64 bits, as on the host
__global__ void fill_random_kernel(__nv_bfloat16* to, std::int64_t count, std::uint64_t seed) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  to[i] = __float2bfloat16(2 * static_cast<float>(random_uniform(seed, static_cast<std::uint64_t>(i))) - 1);
}

}  // namespace

void read_all(const std::byte* from, std::size_t bytes, std::uint32_t* sink, cudaStream_t stream) {
  const std::size_t count = bytes / sizeof(uint4), block = std::size_t{kThreads} * kLoads;
  read_all_kernel<<<static_cast<unsigned>((count + block - 1) / block), kThreads, 0, stream>>>(
      reinterpret_cast<const uint4*>(from), count, sink);
  check_launch("read_all");
}

void fill_random(__nv_bfloat16* to, std::int64_t count, std::uint64_t seed, cudaStream_t stream) {
  fill_random_kernel<<<static_cast<unsigned>((count + kThreads - 1) / kThreads), kThreads, 0, stream>>>(
      to, count, seed);
  check_launch("fill_random");
}

}  // namespace mamba3::cuda
