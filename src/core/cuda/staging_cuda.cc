#include "core/cuda/staging.h"

#include <algorithm>
#include <vector>

#include "core/cuda/runtime.h"

namespace mamba3::cuda {
namespace {

// A thread's memory, taken in order from slabs that are kept.
struct Slabs {
  static constexpr std::size_t kSlab = std::size_t{16} << 20, kAlignment = 256;
  std::vector<Memory> slabs;
  std::size_t slab = 0;  // the slab in use
  std::size_t used = 0;  // bytes of it that are taken

  std::byte* take(std::size_t bytes) {
    bytes = (std::max<std::size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
    for (; slab < slabs.size() && slabs[slab].size() - used < bytes; ++slab) used = 0;
    if (slab == slabs.size()) slabs.emplace_back(std::max(kSlab, bytes));
    return slabs[slab].data() + std::exchange(used, used + bytes);
  }
};

Slabs& mine() {
  thread_local Slabs slabs;
  return slabs;
}

}  // namespace

Staging::~Staging() {
  mine().slab = mine().used = 0;
}

std::byte* Staging::take_bytes(std::size_t bytes) {
  return mine().take(bytes);
}

void Staging::copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind) {
  check(cudaMemcpyAsync(to, from, bytes, kind, stream()), "copying");
}

void Staging::finish() {
  check(cudaStreamSynchronize(stream()), "waiting for the results");
}

}  // namespace mamba3::cuda
