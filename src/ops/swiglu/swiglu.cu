#include "core/cuda/runtime.h"
#include "ops/swiglu/swiglu_cuda.h"

namespace mamba3::cuda {
namespace {

constexpr int kThreads = 256;

// Below -88 e^-v is infinite, and the quotient zero: silu's limit.
__global__ void gate_values(float* value, const float* gate, std::int64_t count) {
  const std::int64_t i = blockIdx.x * std::int64_t{kThreads} + threadIdx.x;
  if (i < count) value[i] *= gate[i] / (1.0f + expf(-gate[i]));
}

}  // namespace

void swiglu(float* value, const float* gate, std::int64_t count, cudaStream_t stream) {
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>((count + kThreads - 1) / kThreads);
  gate_values<<<blocks, kThreads, 0, stream>>>(value, gate, count);
  check_launch("swiglu");
}

}  // namespace mamba3::cuda
