#include "model/cuda/sessions_cuda.h"

namespace mamba3::cuda {

SessionState::SessionState(std::int64_t floats, cudaStream_t stream) : SessionState(floats, stream, Unset{}) {
  check(cudaMemsetAsync(values_.data(), 0, static_cast<std::size_t>(floats) * sizeof(float), stream),
        "clearing a session's state");
}

std::unique_ptr<DeviceState> SessionState::clone() const {
  std::unique_ptr<SessionState> twin(new SessionState(size(), stream_, Unset{}));
  check(cudaMemcpyAsync(twin->values(), values(), static_cast<std::size_t>(size()) * sizeof(float),
                        cudaMemcpyDeviceToDevice, stream_),
        "copying a session's state");
  return twin;
}

BatchTable::BatchTable(std::int64_t most_sessions, std::int64_t most_ids)
    : sessions_(most_sessions), ids_(most_ids) {
  const auto B = static_cast<std::size_t>(most_sessions);
  positions_at_ = B * sizeof(float*);
  tails_at_ = positions_at_ + B * sizeof(std::int64_t);
  starts_at_ = tails_at_ + B * sizeof(std::int32_t);
  ids_at_ = starts_at_ + (B + 1) * sizeof(std::int32_t);
  size_ = ids_at_ + static_cast<std::size_t>(most_ids) * sizeof(std::int32_t);
  device_ = Buffer<std::byte>(static_cast<std::int64_t>(size_));
  host_ = PinnedMemory(size_);
}

void BatchTable::set(std::int64_t i, const NetworkState& state) {
  host<float*>(0)[i] = session_state(state).values();
  host<std::int64_t>(positions_at_)[i] = state.position;
  host<std::int32_t>(tails_at_)[i] = static_cast<std::int32_t>(state.layers.front().tail);
}

void BatchTable::send(cudaStream_t stream) {
  check(cudaMemcpyAsync(device_.data(), host_.data(), size_, cudaMemcpyHostToDevice, stream),
        "copying a batch's table to the device");
}

}  // namespace mamba3::cuda
