// Seeded numbers, and memory of the GPU that holds them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cuda/runtime.h"
#include "core/splitmix.h"
#include "core/threads.h"

namespace mamba3::test {

/// Seeded numbers in [low, high).
inline std::vector<float> uniform(std::uint64_t seed, std::int64_t count, double low, double high) {
  std::vector<float> values(static_cast<std::size_t>(count));
  parallel_ranges(count, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t i = first; i < end; ++i) {
      const double u = random_uniform(seed, static_cast<std::uint64_t>(i));
      values[static_cast<std::size_t>(i)] = static_cast<float>(low + (high - low) * u);
    }
  });
  return values;
}

template <typename T>
cuda::Buffer<T> on_device(const std::vector<T>& values, cudaStream_t stream) {
  cuda::Buffer<T> buffer(std::ssize(values));
  cuda::upload(buffer.data(), values.data(), values.size() * sizeof(T), stream);
  return buffer;
}

template <typename T>
std::vector<T> on_host(const T* device, std::int64_t count, cudaStream_t stream) {
  std::vector<T> values(static_cast<std::size_t>(count));
  cuda::download(values.data(), device, values.size() * sizeof(T), stream);
  return values;
}
template <typename T>
std::vector<T> on_host(const cuda::Buffer<T>& buffer, cudaStream_t stream) {
  return on_host(buffer.data(), buffer.size(), stream);
}

template <typename T>
cuda::Buffer<T> filled(int byte, std::int64_t count, cudaStream_t stream) {
  cuda::Buffer<T> buffer(count);
  cuda::check(cudaMemsetAsync(buffer.data(), byte, static_cast<std::size_t>(count) * sizeof(T), stream),
              "filling memory");
  return buffer;
}
/// Numbers that nobody wrote: NaN in every type.
template <typename T>
cuda::Buffer<T> poisoned(std::int64_t count, cudaStream_t stream) {
  return filled<T>(0xff, count, stream);
}
template <typename T>
cuda::Buffer<T> zeros(std::int64_t count, cudaStream_t stream) {
  return filled<T>(0, count, stream);
}

}  // namespace mamba3::test
