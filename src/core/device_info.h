// The devices of this machine, and the words that choose one.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/device.h"

namespace mamba3 {

/// One CUDA device.
struct DeviceInfo {
  int index = 0;
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int multiprocessors = 0;
  std::size_t memory_total = 0;  ///< bytes
  std::size_t memory_free = 0;
  std::size_t shared_memory = 0;  ///< bytes a block may ask for
};

/// What there is of CUDA. No devices: `missing` is the sentence that says why. Versions are 1000 major + 10
/// minor, 0 when there is none.
struct CudaInfo {
  std::vector<DeviceInfo> devices;
  std::string missing;
  int driver_version = 0;   ///< newest CUDA that the driver knows
  int runtime_version = 0;  ///< CUDA that this build was made with
};

/// Where to work: `index` counts the CUDA devices.
struct DeviceChoice {
  Device device = Device::cpu;
  int index = 0;

  bool operator==(const DeviceChoice&) const = default;
};

/// "cpu", "cuda" (device 0) or "cuda:1". Throws Error(invalid_argument) for other words.
DeviceChoice parse_device(std::string_view text);

/// Throws Error(device) unless the chosen device is there, with what is there instead.
void check_device(const DeviceChoice& choice);

namespace cuda {

/// Never throws for a machine without GPUs: `missing` says so.
CudaInfo cuda_info();

/// Makes CUDA device `index` the calling thread's.
void use_device(int index);

}  // namespace cuda
}  // namespace mamba3
