// Cross-entropy in a device's memory: logits slice by slice, their log-sum-exp carried along.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "ops/linear/cuda/matrix_cuda.h"

namespace mamba3::cuda {

/// log(sum exp) of a token's logits so far: its largest term, the sum relative to it, and the target's logit
/// once it has been met.
struct RunningEntropy {
  double sum;
  float largest;
  float target;
};

/// Takes in the logits of the head's rows [first, first + width) for `count` tokens: `logits` [count, width],
/// `stride` floats from token to token. Slices come in order, from first = 0 on, over `running` [count]. nll
/// [count] is minus the log probability of targets [count] among the rows up to this slice; after the head's
/// last it is the result (in nats, summed in float64). Everything in memory of the device.
void cross_entropy_slice(const float* logits, std::int64_t stride, std::int64_t first, std::int64_t width,
                         const std::int32_t* targets, std::int64_t count, RunningEntropy* running,
                         double* nll, cudaStream_t stream);

/// Tokens and rows of the head whose logits lie in `scratch` at a time.
inline constexpr std::int64_t kEntropyTokens = 2048, kEntropyRows = 4096;

/// cross_entropy() of ops/cross_entropy/cross_entropy.h over hidden [count, head.cols], dense, by the exact
/// product. `scratch` holds min(count, kEntropyTokens) * min(head.rows, kEntropyRows) floats, `running`
/// count.
void exact_cross_entropy(const DeviceMatrix& head, const float* hidden, const std::int32_t* targets,
                         std::int64_t count, float* scratch, RunningEntropy* running, double* nll,
                         cudaStream_t stream);

}  // namespace mamba3::cuda
