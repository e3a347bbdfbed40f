#include <algorithm>

#include "core/cuda/reduce_cuda.cuh"
#include "core/cuda/runtime.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/linear/cuda/exact_cuda.h"
#include "ops/linear/cuda/planes_cuda.h"

namespace mamba3::cuda {
namespace {

constexpr int kThreads = 256;
// Terms that are added in float32 before float64 takes over: few cards add float64 at more than a 64th of
// float32's rate.
constexpr int kTerms = 16;

// A block a token.
__global__ void __launch_bounds__(kThreads)
    take_slice(const float* all_logits, std::int64_t stride, std::int64_t first, std::int64_t width,
               const std::int32_t* targets, RunningEntropy* all_running, double* nll) {
  const float* logits = all_logits + blockIdx.x * stride;
  float top = -INFINITY;
  for (std::int64_t i = threadIdx.x; i < width; i += kThreads) top = fmaxf(top, logits[i]);
  RunningEntropy running = {0, -INFINITY, 0};
  if (first > 0) running = all_running[blockIdx.x];
  const float largest = block_reduce<kThreads>(fmaxf(top, running.largest), Larger());

  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < width;) {
    float terms = 0;
    for (int n = 0; n < kTerms && i < width; ++n, i += kThreads) terms += expf(logits[i] - largest);
    sum += terms;
  }
  sum = block_reduce<kThreads>(sum, Plus());
  if (threadIdx.x > 0) return;
  const std::int64_t target = targets[blockIdx.x] - first;
  if (target >= 0 && target < width) running.target = logits[target];
  if (first > 0) sum += running.sum * exp(static_cast<double>(running.largest) - largest);
  all_running[blockIdx.x] = {sum, largest, running.target};
  nll[blockIdx.x] = log(sum) + largest - running.target;
}

}  // namespace

void cross_entropy_slice(const float* logits, std::int64_t stride, std::int64_t first, std::int64_t width,
                         const std::int32_t* targets, std::int64_t count, RunningEntropy* running,
                         double* nll, cudaStream_t stream) {
  if (count == 0) return;
  take_slice<<<static_cast<unsigned>(count), kThreads, 0, stream>>>(logits, stride, first, width, targets,
                                                                    running, nll);
  check_launch("cross_entropy");
}

void exact_cross_entropy(const DeviceMatrix& head, const float* hidden, const std::int32_t* targets,
                         std::int64_t count, float* scratch, RunningEntropy* running, double* nll,
                         cudaStream_t stream) {
  for (std::int64_t token = 0; token < count; token += kEntropyTokens) {
    const std::int64_t tokens = std::min(kEntropyTokens, count - token);
    for (std::int64_t first = 0; first < head.rows; first += kEntropyRows) {
      const std::int64_t width = std::min(kEntropyRows, head.rows - first);
      exact_linear(rows_of(head, first, width), hidden + token * head.cols, tokens, scratch, false, stream);
      cross_entropy_slice(scratch, width, first, width, targets + token, tokens, running + token, nll + token,
                          stream);
    }
  }
}

}  // namespace mamba3::cuda
