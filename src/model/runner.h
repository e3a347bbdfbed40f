// A network on one kind of device: what Network hands its calls to, once each. All pointers are to host
// memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "model/network.h"

namespace mamba3 {

/// What Network promises (network.h), for ids that are inside the vocabulary.
class Runner {
 public:
  virtual ~Runner() = default;

  virtual NetworkState zero_state() const = 0;
  virtual void prefill(Arena& arena, std::span<const TokenId> ids, NetworkState& state,
                       const PrefillVisitors& visitors) const = 0;
  virtual void step(Arena& arena, std::span<const TokenId> ids, std::span<NetworkState* const> states,
                    float* hidden) const = 0;
  virtual void prefill_all(Arena& arena, std::span<const Prompt> prompts) const;
  virtual void greedy(Arena& arena, std::span<TokenId> ids, std::span<NetworkState* const> states,
                      std::int64_t steps) const;
  virtual bool draws(const SamplerOptions& options) const;
  virtual void draw(Arena& arena, std::span<const TokenId> ids, std::span<NetworkState* const> states,
                    std::span<Sampler* const> samplers, std::int64_t words, std::span<TokenId> drawn) const;
  virtual void rewind(Arena& arena, NetworkState& state, std::int64_t tokens) const = 0;
  virtual void logits(Arena& arena, const float* hidden, std::int64_t rows, float* logits) const = 0;
  virtual void nll(Arena& arena, const float* hidden, std::span<const TokenId> targets,
                   double* nll) const = 0;
  /// The state in host memory, every layer's `values` filled; and the way back.
  virtual NetworkState on_host(const NetworkState& state) const = 0;
  virtual NetworkState from_host(NetworkState state) const = 0;
  /// The head as the CPU's products take it; throws Error(unsupported) on another device.
  virtual const PackedMatrix& head() const = 0;
};

/// The checkpoint must outlive the result.
std::unique_ptr<Runner> make_cpu_runner(const Checkpoint& checkpoint, const NetworkOptions& options);
/// Throws Error(unsupported) in a build without CUDA, Error(device) where there is no such device,
/// Error(out_of_memory) for a model that does not fit.
std::unique_ptr<Runner> make_cuda_runner(const Checkpoint& checkpoint, const NetworkOptions& options);

}  // namespace mamba3
