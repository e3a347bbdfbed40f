#include <cuda_runtime_api.h>

#include "core/cuda/runtime.h"
#include "core/device_info.h"
#include "core/error.h"

namespace mamba3::cuda {
namespace {

std::string version(int number) {
  return fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

// Why there are no devices, in one sentence.
std::string reason(cudaError_t status, const CudaInfo& info) {
  if (status == cudaErrorInsufficientDriver && info.driver_version == 0) {
    return "there is no NVIDIA driver on this machine";
  }
  if (status == cudaErrorInsufficientDriver) {
    return fmt::format(
        "the NVIDIA driver knows CUDA {}, this build of mamba3 needs CUDA {}: update the driver",
        version(info.driver_version), version(info.runtime_version));
  }
  if (status == cudaErrorNoDevice || status == cudaSuccess) {
    return "there is no NVIDIA GPU on this machine, or CUDA_VISIBLE_DEVICES hides it";
  }
  return fmt::format("{} ({})", cudaGetErrorString(status), cudaGetErrorName(status));
}

DeviceInfo device_info(int index) {
  DeviceInfo info;
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "asking for a device's properties");
  info.index = index;
  info.name = properties.name;
  info.major = properties.major;
  info.minor = properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  info.shared_memory = properties.sharedMemPerBlockOptin;
  info.memory_total = properties.totalGlobalMem;
  check(cudaSetDevice(index), "choosing a device");
  check(cudaMemGetInfo(&info.memory_free, &info.memory_total), "asking for the free memory");
  return info;
}

}  // namespace

CudaInfo cuda_info() {
  CudaInfo info;
  cudaDriverGetVersion(&info.driver_version);
  cudaRuntimeGetVersion(&info.runtime_version);
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();  // not of the next call
    info.missing = reason(status, info);
    return info;
  }
  int current = 0;
  check(cudaGetDevice(&current), "asking for the current device");
  for (int i = 0; i < count; ++i) info.devices.push_back(device_info(i));
  check(cudaSetDevice(current), "choosing a device");
  return info;
}

void use_device(int index) {
  check(cudaSetDevice(index), "choosing a device");
}

}  // namespace mamba3::cuda
