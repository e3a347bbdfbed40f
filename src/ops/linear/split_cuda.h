// Float32 products on tensor cores, for the rows of in_proj that steer the dynamics.
//
// x and W are split into two float16 parts of 11 bits each, v = high + low + rest, |rest| <= 2^-24 |v|, and
//   x W^T = low_x high_W^T + high_x low_W^T + high_x high_W^T + error
// is one product of rows [low, high, high] of three times the length, with float32 sums. What is left out,
// low_x low_W^T and the rests, is at most 3 2^-24 of |x| |W|, like the rounding of float32 itself. The small
// products come first, while the sums are small: tensor cores cut sums off where they are rounded elsewhere.
//
// float16 ends at 65504 and below 2^-14 has a fixed step of 2^-24, so W is scaled by a power of two to a
// largest value in [1/2, 1). A normed row's values are at most sqrt(D) times its largest gain, 45 for D 2048,
// and below 2^-14 of a row's root mean square the step is an error of 2^-25 of that.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace mamba3::cuda {

/// Values of a row of `inputs` values in parts: [low, high, high] for x, [high, low, high] for W.
constexpr std::int64_t split_length(std::int64_t inputs) {
  return 3 * inputs;
}

/// W [outputs, inputs] float32 to parts [outputs, 3 inputs] of scale W. At loading time: one block a row.
void split_weights(const float* W, std::int64_t outputs, std::int64_t inputs, float scale, __half* parts,
                   cudaStream_t stream);

}  // namespace mamba3::cuda
