#include "core/cuda/runtime.h"

#include "core/error.h"

namespace mamba3::cuda {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  fail(ErrorCode::device, "device cuda: {}: {} ({})", what, cudaGetErrorString(status),
       cudaGetErrorName(status));
}

void check_launch(const char* kernel) {
  check(cudaGetLastError(), kernel);
}

Stream::Stream() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}
Stream::~Stream() {
  cudaStreamDestroy(stream_);
}
void Stream::synchronize() const {
  check(cudaStreamSynchronize(stream_), "waiting for a stream");
}

Event::Event() {
  check(cudaEventCreate(&event_), "creating an event");
}
Event::~Event() {
  cudaEventDestroy(event_);
}
void Event::record(cudaStream_t stream) {
  check(cudaEventRecord(event_, stream), "recording an event");
}
void Event::synchronize() const {
  check(cudaEventSynchronize(event_), "waiting for an event");
}
float Event::since(const Event& start) const {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, start.event_, event_), "reading an event's time");
  return milliseconds;
}

Memory::Memory(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not of the next call
    std::size_t available = 0, total = 0;
    check(cudaMemGetInfo(&available, &total), "asking for the free memory");
    fail(ErrorCode::out_of_memory,
         "device cuda: {:.2f} GB of memory are needed, {:.2f} of {:.2f} GB are free",
         1e-9 * static_cast<double>(bytes), 1e-9 * static_cast<double>(available),
         1e-9 * static_cast<double>(total));
  }
  check(status, "allocating memory");
  data_ = static_cast<std::byte*>(memory);
}
Memory::~Memory() {
  cudaFree(data_);
}

PinnedMemory::PinnedMemory(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMallocHost(&memory, bytes), "allocating pinned memory");
  data_ = static_cast<std::byte*>(memory);
}
PinnedMemory::~PinnedMemory() {
  cudaFreeHost(data_);
}

void upload(void* device, const void* host, std::size_t bytes, cudaStream_t stream) {
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream), "copying to the device");
  check(cudaStreamSynchronize(stream), "copying to the device");
}
void download(void* host, const void* device, std::size_t bytes, cudaStream_t stream) {
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream), "copying from the device");
  check(cudaStreamSynchronize(stream), "copying from the device");
}

}  // namespace mamba3::cuda
