// Device memory and copies for entries whose arguments are in host memory: inputs go up, kernels run, results
// come down. For tests and single calls; a model keeps everything on the device.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace mamba3::cuda {

/// What one call takes; given back at its end and kept for the thread's next call. Not for nested calls.
class Staging {
 public:
  Staging() = default;
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  static cudaStream_t stream() { return cudaStreamPerThread; }

  /// `count` values of a plain type, aligned to 256 bytes.
  template <typename T>
  T* take(std::int64_t count) {
    return reinterpret_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
  }

  /// A copy of `count` values; null stays null.
  template <typename T>
  T* upload(const T* host, std::int64_t count) {
    if (host == nullptr) return nullptr;
    T* device = take<T>(count);
    copy(device, host, static_cast<std::size_t>(count) * sizeof(T), cudaMemcpyHostToDevice);
    return device;
  }

  /// Done when the call returns, and so are all kernels before it.
  template <typename T>
  void download(T* host, const T* device, std::int64_t count) {
    copy(host, device, static_cast<std::size_t>(count) * sizeof(T), cudaMemcpyDeviceToHost);
    finish();
  }

 private:
  static std::byte* take_bytes(std::size_t bytes);
  static void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind);
  static void finish();
};

}  // namespace mamba3::cuda
