// The body of launch(): picks the kernels of a shape.
#pragma once

#include <algorithm>

#include "core/cuda/runtime.h"
#include "mixers/mamba3/scan_kernels.cuh"
#include "mixers/mamba3/scan_launch.cuh"

namespace mamba3::cuda::scan {

template <typename Kernel>
void launch_kernel(Kernel kernel, const char* name, const Arguments& arguments, const SharedMap& map,
                   dim3 grid, int threads, cudaStream_t stream) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, map.size), name);
  kernel<<<grid, threads, map.size, stream>>>(arguments, map);
  check_launch(name);
}

template <typename S>
void launch_shape(const Arguments& a, const Launch& shape, cudaStream_t stream) {
  const int groups = a.headdim / S::kSlice, threads = groups * kGroupThreads;
  const SharedMap map(groups, S::kSlice, S::kRanks, a.d_state, a.angles);
  const auto grid = [&](int segments) { return dim3(a.heads, segments, shape.sequences); };
  if (shape.most_segments > 1) {
    launch_kernel(segment_kernel<S>, "mamba3 scan, segments", a, map, grid(shape.most_segments - 1), threads,
                  stream);
  }
  launch_kernel(scan_kernel<S>, "mamba3 scan", a, map, grid(shape.most_segments), threads, stream);
}

template <int Ranks>
void launch(const Arguments& a, const Launch& shape, cudaStream_t stream) {
  if (a.d_state > kColumns) {
    a.headdim == 32 ? launch_shape<Shape<2, 32, Ranks>>(a, shape, stream)
                    : launch_shape<Shape<2, 64, Ranks>>(a, shape, stream);
  } else {
    a.headdim == 32 ? launch_shape<Shape<1, 32, Ranks>>(a, shape, stream)
                    : launch_shape<Shape<1, 64, Ranks>>(a, shape, stream);
  }
}

}  // namespace mamba3::cuda::scan
