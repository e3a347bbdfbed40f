// Programmatic dependent launch (sm_90 and later): a kernel launched with it may begin while the one in front
// of it in the stream still runs. Nothing happens in kernels launched without it.
#pragma once

#include <cuda_runtime_api.h>

#include "core/cuda/runtime.h"

namespace mamba3::cuda {

/// From here on a dependent kernel may begin, where there is room for its blocks.
__device__ inline void let_dependents_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/// Returns when the kernel in front has ended and its writes are seen.
__device__ inline void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/// Whether the current device can begin a kernel before the one in front of it has ended.
inline bool launches_dependents() {
  int device = 0, major = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
        "asking for a device's properties");
  return major >= 9;
}

/// Launches a kernel that calls wait_for_previous_kernel() before it touches what others write: dependent
/// where the device can.
template <typename... Params, typename... Args>
void launch_dependent(const char* name, void (*kernel)(Params...), dim3 grid, unsigned threads,
                      cudaStream_t stream, const Args&... args) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = launches_dependents() ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, Params(args)...), name);
}

}  // namespace mamba3::cuda
