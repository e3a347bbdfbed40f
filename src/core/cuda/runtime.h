// CUDA's handles, owned; its failures, thrown. Plain C++, for host code and device code alike.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace mamba3::cuda {

/// Throws Error(device) with what was being done and CUDA's own words, unless `status` is success.
void check(cudaError_t status, const char* what);

/// The same for the last kernel launch; `kernel` names it.
void check_launch(const char* kernel);

/// A stream of its own.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }
  void synchronize() const;

 private:
  cudaStream_t stream_ = nullptr;
};

/// A mark in a stream: orders streams, and measures time between two marks.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }
  void record(cudaStream_t stream);
  void synchronize() const;
  /// Milliseconds from `start` to this; both have been recorded and reached.
  float since(const Event& start) const;

 private:
  cudaEvent_t event_ = nullptr;
};

/// Memory of the device. Throws Error(out_of_memory) with how much was needed and had.
class Memory {
 public:
  Memory() = default;
  explicit Memory(std::size_t bytes);
  ~Memory();
  Memory(Memory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Memory of the host that a device reads and writes by itself.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  explicit PinnedMemory(std::size_t bytes);
  ~PinnedMemory();
  PinnedMemory(PinnedMemory&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
};

/// `count` values of a plain type in memory of the device.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t count) : memory_(static_cast<std::size_t>(count) * sizeof(T)) {}
  T* data() const { return reinterpret_cast<T*>(memory_.data()); }
  std::int64_t size() const { return static_cast<std::int64_t>(memory_.size() / sizeof(T)); }

 private:
  Memory memory_;
};

/// Copies that are done when the call returns.
void upload(void* device, const void* host, std::size_t bytes, cudaStream_t stream);
void download(void* host, const void* device, std::size_t bytes, cudaStream_t stream);

}  // namespace mamba3::cuda
