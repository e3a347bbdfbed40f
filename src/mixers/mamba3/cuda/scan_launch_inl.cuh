// The body of launch(): picks the kernels of a shape.
#pragma once

#include <algorithm>

#include "core/cuda/runtime.h"
#include "mixers/mamba3/cuda/scan_kernels.cuh"
#include "mixers/mamba3/cuda/scan_launch.cuh"

namespace mamba3::cuda::scan {

template <typename Kernel>
void launch_kernel(Kernel kernel, const char* name, const Arguments& a, dim3 grid, int memory,
                   cudaStream_t stream) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, memory), name);
  kernel<<<grid, kThreads, memory, stream>>>(a);
  check_launch(name);
}

template <typename S>
void launch_shape(const Arguments& a, const Launch& shape, cudaStream_t stream) {
  const int memory = Memory<S>::size(a.angles);
  const auto grid = [&](int segments) { return dim3(a.heads * a.slices, segments, shape.sequences); };
  if (shape.most_segments > 1 || a.slices > 1) {
    const dim3 before_last = grid(std::max(1, shape.most_segments - 1));
    launch_kernel(segment_kernel<S>, "mamba3 scan, segments", a, before_last, memory, stream);
  }
  launch_kernel(scan_kernel<S>, "mamba3 scan", a, grid(shape.most_segments), memory, stream);
}

template <int Halves, int Ranks>
void launch_slice(const Arguments& a, const Launch& shape, cudaStream_t stream) {
  a.headdim == 32 ? launch_shape<Shape<Halves, 32, Ranks>>(a, shape, stream)
                  : launch_shape<Shape<Halves, 64, Ranks>>(a, shape, stream);
}

template <int Ranks>
void launch(const Arguments& a, const Launch& shape, cudaStream_t stream) {
  a.d_state <= kColumns ? launch_slice<1, Ranks>(a, shape, stream) : launch_slice<2, Ranks>(a, shape, stream);
}

}  // namespace mamba3::cuda::scan
