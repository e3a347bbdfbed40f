// What a sequence and a single step do alike on the GPU before the heads part.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "mixers/mamba3/config.h"
#include "mixers/mamba3/cuda/parameters_cuda.h"

namespace mamba3::cuda {

/// Per token and head, made from the rows of `dynamics`; rate is tanh(angle) pi.
struct Mamba3Dynamics {
  float* adt = nullptr;   // [rows, H]
  float* dt = nullptr;    // [rows, H]
  float* trap = nullptr;  // [rows, H]
  float* rate = nullptr;  // [rows, S]
};

/// Steps 1 to 3 of the specification's "The layer" and the rate of step 4, without the heads' biases: norms B
/// and C of projected [rows, 2E + 2RGN] (z, x, B, C) over N, in place, and unpacks dynamics [rows, 3H + S]
/// (dd_dt, dd_A, trap, angle). In float32, whatever Row is; everything lies in memory of the device.
template <typename Row>
void mamba3_inputs(const Mamba3Config& config, const Mamba3Parameters& weights, std::int64_t rows,
                   Row* projected, const float* dynamics, const Mamba3Dynamics& out, cudaStream_t stream);
extern template void mamba3_inputs(const Mamba3Config&, const Mamba3Parameters&, std::int64_t, float*,
                                   const float*, const Mamba3Dynamics&, cudaStream_t);
extern template void mamba3_inputs(const Mamba3Config&, const Mamba3Parameters&, std::int64_t, __nv_bfloat16*,
                                   const float*, const Mamba3Dynamics&, cudaStream_t);

}  // namespace mamba3::cuda
