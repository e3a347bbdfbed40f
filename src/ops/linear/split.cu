#include "core/cuda/runtime.h"
#include "ops/linear/split_cuda.h"

namespace mamba3::cuda {
namespace {

__global__ void split_weights_kernel(const float* W, std::int64_t inputs, float scale, __half* parts) {
  const std::int64_t row = blockIdx.x;
  __half* const to = parts + row * split_length(inputs);
  for (std::int64_t i = threadIdx.x; i < inputs; i += blockDim.x) {
    const float v = scale * W[row * inputs + i];
    const __half high = __float2half_rn(v);
    to[i] = to[2 * inputs + i] = high;
    to[inputs + i] = __float2half_rn(v - __half2float(high));
  }
}

}  // namespace

void split_weights(const float* W, std::int64_t outputs, std::int64_t inputs, float scale, __half* parts,
                   cudaStream_t stream) {
  split_weights_kernel<<<static_cast<unsigned>(outputs), 256, 0, stream>>>(W, inputs, scale, parts);
  check_launch("split_weights");
}

}  // namespace mamba3::cuda
