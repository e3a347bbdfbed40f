// Sessions on a GPU: their memory, and what kernels read of a batch of them.
#pragma once

#include <memory>
#include <span>

#include "core/cuda/runtime.h"
#include "mamba3/tokenizer.h"
#include "model/network.h"

namespace mamba3::cuda {

/// One session's states, layer after layer as Mamba3Layout has them.
class SessionState : public DeviceState {
 public:
  /// Zeros. `stream` outlives this.
  SessionState(std::int64_t floats, cudaStream_t stream);
  std::unique_ptr<DeviceState> clone() const override;
  float* values() const { return values_.data(); }
  std::int64_t size() const { return values_.size(); }

 private:
  struct Unset {};
  SessionState(std::int64_t floats, cudaStream_t stream, Unset) : values_(floats), stream_(stream) {}

  Buffer<float> values_;
  cudaStream_t stream_;
};

/// The session's memory. Precondition: a runner of this backend made the state.
inline SessionState& session_state(const NetworkState& state) {
  return static_cast<SessionState&>(*state.device.get());
}

/// What kernels read of a batch, the same on both sides: states, positions, tails, ids, first tokens.
class BatchTable {
 public:
  explicit BatchTable(std::int64_t most_sessions, std::int64_t most_ids);

  // The device's.
  float** states() const { return at<float*>(device_.data(), 0); }
  std::int64_t* positions() const { return at<std::int64_t>(device_.data(), positions_at_); }
  std::int32_t* tails() const { return at<std::int32_t>(device_.data(), tails_at_); }
  std::int32_t* starts() const { return at<std::int32_t>(device_.data(), starts_at_); }
  std::int32_t* ids() const { return at<std::int32_t>(device_.data(), ids_at_); }

  std::int64_t most_sessions() const { return sessions_; }
  std::int64_t most_ids() const { return ids_; }

  /// Row i of the host's side.
  void set(std::int64_t i, const NetworkState& state);
  void set_start(std::int64_t i, std::int64_t start) {
    host<std::int32_t>(starts_at_)[i] = static_cast<std::int32_t>(start);
  }
  TokenId* host_ids() { return host<TokenId>(ids_at_); }
  /// Sends all of it; the host's side may be written again once the stream is through.
  void send(cudaStream_t stream);

 private:
  template <typename T>
  static T* at(std::byte* base, std::size_t offset) {
    return reinterpret_cast<T*>(base + offset);
  }
  template <typename T>
  T* host(std::size_t offset) {
    return at<T>(host_.data(), offset);
  }

  std::int64_t sessions_, ids_;
  std::size_t positions_at_, tails_at_, starts_at_, ids_at_, size_;
  Buffer<std::byte> device_;
  PinnedMemory host_;
};

}  // namespace mamba3::cuda
