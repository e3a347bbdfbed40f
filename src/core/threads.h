// Sharing work between the threads of one process (OpenMP).
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

namespace mamba3 {

/// Physical cores this process may use: hyper-threads share the units that our kernels fill.
int physical_cores();

/// As in mamba3/model.h.
void set_threads(int threads);
int threads();

/// Calls work(first, last) on each thread with its contiguous share of [0, count).
template <typename Work>
void parallel_ranges(std::int64_t count, const Work& work) {
#pragma omp parallel
  {
    const std::int64_t n = omp_get_num_threads(), i = omp_get_thread_num();
    const std::int64_t first = count * i / n, last = count * (i + 1) / n;
    if (first < last) work(first, last);
  }
}

/// Calls work(i) for i in [0, count), handed out one by one.
template <typename Work>
void parallel_each(std::int64_t count, const Work& work) {
#pragma omp parallel for schedule(dynamic, 1)
  for (std::int64_t i = 0; i < count; ++i) work(i);
}

}  // namespace mamba3
