// A Mamba-3 layer of the released head shape, and random inputs for its kernels.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <vector>

#include "core/cuda/runtime.h"
#include "core/splitmix.h"
#include "core/threads.h"
#include "mixers/mamba3/config.h"
#include "mixers/mamba3/layout.h"
#include "ops/ceiling/probes_cuda.h"

namespace mamba3::bench {

/// d_model 2048: H 64, P 64, N 128, G 1.
inline Mamba3Config released_mixer(std::int64_t rank) {
  return {.d_model = 2048, .is_mimo = rank > 1, .mimo_rank = rank};
}

inline std::string mixer_name(const Mamba3Config& c) {
  return c.is_mimo ? "MIMO R " + std::to_string(c.rank()) : "SISO";
}
inline std::string mixer_tag(const Mamba3Config& c) {
  return c.is_mimo ? "mimo" : "siso";
}

/// Bytes of a sequence's state.
inline double state_bytes(const Mamba3Config& c) {
  return 4.0 *
         static_cast<double>(c.n_heads() * (c.d_state * (c.headdim + c.rank()) + c.headdim + c.n_angles()));
}

/// Bytes that a step moves in a layer's state of one session, mean over a write-back period: the checkpoint
/// and the tokens of the tail are read, a token is written, and once a period the checkpoint.
inline double step_bytes(const Mamba3Layout& l) {
  const auto F = static_cast<double>(l.fold_every());
  const double h = static_cast<double>(l.d_state * l.wide_p), token = static_cast<double>(l.token);
  return 4.0 * static_cast<double>(l.heads) * (h + h / F + (1 + (F - 1) / 2) * token + token);
}

/// Operations of a layer for a token: outer products and read-out of the state.
inline double token_operations(const Mamba3Config& c) {
  return 4.0 * static_cast<double>(c.n_heads() * c.rank() * c.d_state * c.headdim);
}

/// Seeded numbers in [low, high), in memory of the host.
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

/// Numbers that no kernel wrote: NaN in every type.
template <typename T>
cuda::Buffer<T> poisoned(std::int64_t count, cudaStream_t stream) {
  cuda::Buffer<T> buffer(count);
  cuda::check(cudaMemsetAsync(buffer.data(), 0xff, static_cast<std::size_t>(count) * sizeof(T), stream),
              "poisoning memory");
  return buffer;
}
template <typename T>
cuda::Buffer<T> zeros(std::int64_t count, cudaStream_t stream) {
  cuda::Buffer<T> buffer(count);
  cuda::check(cudaMemsetAsync(buffer.data(), 0, static_cast<std::size_t>(count) * sizeof(T), stream),
              "clearing memory");
  return buffer;
}

}  // namespace mamba3::bench
