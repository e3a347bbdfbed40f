#include "core/huge_memory.h"

#include <sys/mman.h>

#include <utility>

#include "core/error.h"

namespace mamba3 {

HugeMemory::HugeMemory(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail(ErrorCode::io, "there is no memory for {} bytes", bytes);
  data_ = static_cast<std::byte*>(memory);
  madvise(memory, bytes, MADV_HUGEPAGE);  // 4 KB pages will do where it is refused
}

HugeMemory::~HugeMemory() {
  if (data_ != nullptr) munmap(data_, size_);
}

HugeMemory::HugeMemory(HugeMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

HugeMemory& HugeMemory::operator=(HugeMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace mamba3
