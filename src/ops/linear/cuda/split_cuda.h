// Float32 products on tensor cores, for the rows of in_proj that steer the dynamics.
//
// x and W are split into two bfloat16 parts, v = high + low + rest: |low| <= 2^-8 |v| and |rest| <= 2^-16
// |v|, at most and half of that for most values, with float32's range. Then
//   x W^T = low_x high_W^T + high_x low_W^T + high_x high_W^T + error
// is one product of rows of three times the length, [low, high, high] and [high, low, high], with float32
// sums. Left out are low_x low_W^T and the rests: their signs are random, each is about 2^-18 of its product,
// and together they are 4e-6 of y in norm (measured; none from W when it is bf16 already). Tensor cores cut
// sums off where other units round them: 2.4e-6. The small products come first, while the sums are small.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

namespace mamba3::cuda {

/// Values of a row of `inputs` values in parts. Its last third, [2 inputs, 3 inputs), is the row rounded to
/// bf16.
constexpr std::int64_t split_length(std::int64_t inputs) {
  return 3 * inputs;
}

/// W [outputs, inputs] float32 to parts [outputs, 3 inputs], [high, low, high]. At loading time.
void split_weights(const float* W, std::int64_t outputs, std::int64_t inputs, __nv_bfloat16* parts,
                   cudaStream_t stream);

}  // namespace mamba3::cuda
