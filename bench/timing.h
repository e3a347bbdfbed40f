// Times of work on a GPU: captured once, replayed between two events.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "core/cuda/runtime.h"
#include "model/cuda/decode_cuda.h"

namespace mamba3::bench {

inline constexpr int kSamples = 20;
/// Larger than every second-level cache by a good factor: data that went round it come from memory.
inline constexpr std::int64_t kBeyondCaches = std::int64_t{256} << 20;

/// Seconds of each replay over `parts`, after a few that do not count. `work` launches into the stream.
inline std::vector<double> graph_seconds(cudaStream_t stream, double parts,
                                         const std::function<void()>& work) {
  constexpr int kWarmUps = 3;
  work();  // kernels are loaded at their first launch, which must not be in a capture
  const cuda::Graph graph(stream, work);
  cuda::Event start, end;
  std::vector<double> seconds;
  for (int i = -kWarmUps; i < kSamples; ++i) {
    start.record(stream);
    graph.launch(stream);
    end.record(stream);
    end.synchronize();
    if (i >= 0) seconds.push_back(1e-3 * end.since(start) / parts);
  }
  return seconds;
}

/// Seconds of a call that returns when all is done.
template <typename Work>
double host_seconds(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace mamba3::bench
