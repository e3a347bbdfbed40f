#include "core/cuda/runtime.h"
#include "ops/linear/cuda/split_cuda.h"

namespace mamba3::cuda {
namespace {

__global__ void split_weights_kernel(const float* W, std::int64_t inputs, __nv_bfloat16* parts) {
  const std::int64_t row = blockIdx.x;
  __nv_bfloat16* const to = parts + row * split_length(inputs);
  for (std::int64_t i = threadIdx.x; i < inputs; i += blockDim.x) {
    const float v = W[row * inputs + i];
    const __nv_bfloat16 high = __float2bfloat16(v);
    to[i] = to[2 * inputs + i] = high;
    to[inputs + i] = __float2bfloat16(v - __bfloat162float(high));
  }
}

}  // namespace

void split_weights(const float* W, std::int64_t outputs, std::int64_t inputs, __nv_bfloat16* parts,
                   cudaStream_t stream) {
  split_weights_kernel<<<static_cast<unsigned>(outputs), 256, 0, stream>>>(W, inputs, parts);
  check_launch("split_weights");
}

}  // namespace mamba3::cuda
