// Float types of the device, to and from float32.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace mamba3::cuda {

__device__ inline float as_float(float v) {
  return v;
}
__device__ inline float as_float(__half v) {
  return __half2float(v);
}
__device__ inline float as_float(__nv_bfloat16 v) {
  return __bfloat162float(v);
}

/// Rounded to the nearest, ties to even.
template <typename T>
__device__ T from_float(float v);
template <>
__device__ inline float from_float(float v) {
  return v;
}
template <>
__device__ inline __nv_bfloat16 from_float(float v) {
  return __float2bfloat16_rn(v);
}

}  // namespace mamba3::cuda
