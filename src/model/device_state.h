// A session's memory on a device, held like a value: a copy is a clone.
#pragma once

#include <memory>

namespace mamba3 {

class DeviceState {
 public:
  virtual ~DeviceState() = default;
  virtual std::unique_ptr<DeviceState> clone() const = 0;
  DeviceState& operator=(const DeviceState&) = delete;

 protected:
  DeviceState() = default;
  DeviceState(const DeviceState&) = default;
};

/// Empty for a session in host memory.
class DeviceStateHolder {
 public:
  DeviceStateHolder() = default;
  explicit DeviceStateHolder(std::unique_ptr<DeviceState> state) : state_(std::move(state)) {}
  DeviceStateHolder(const DeviceStateHolder& other)
      : state_(other.state_ ? other.state_->clone() : nullptr) {}
  DeviceStateHolder& operator=(const DeviceStateHolder& other) { return *this = DeviceStateHolder(other); }
  DeviceStateHolder(DeviceStateHolder&&) noexcept = default;
  DeviceStateHolder& operator=(DeviceStateHolder&&) noexcept = default;
  ~DeviceStateHolder() = default;

  DeviceState* get() const { return state_.get(); }

 private:
  std::unique_ptr<DeviceState> state_;
};

}  // namespace mamba3
