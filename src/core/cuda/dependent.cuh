// Programmatic dependent launch (sm_90 and later): a kernel launched with it may begin while the one in front
// of it in the stream still runs. Nothing happens in kernels launched without it.
#pragma once

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

}  // namespace mamba3::cuda
