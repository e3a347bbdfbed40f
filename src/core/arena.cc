#include "core/arena.h"

#include <algorithm>
#include <new>

namespace mamba3 {
namespace {

constexpr std::size_t kAlignment = 64;  // a cache line, and the widest vector
// A slab holds the activations of a short prefill of a small model; a larger demand gets a slab of its own
// size.
constexpr std::size_t kSlabBytes = std::size_t{1} << 20;

}  // namespace

void Arena::Free::operator()(std::byte* memory) const {
  ::operator delete (memory, std::align_val_t{kAlignment});
}

std::byte* Arena::take_bytes(std::size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  while (slab_ < slabs_.size() && used_ + bytes > slabs_[slab_].size) {
    ++slab_;
    used_ = 0;
  }
  if (slab_ == slabs_.size()) {
    const std::size_t size = std::max(bytes, kSlabBytes);
    auto* memory = static_cast<std::byte*>(::operator new (size, std::align_val_t{kAlignment}));
    slabs_.push_back({std::unique_ptr<std::byte, Free>(memory), size});
    used_ = 0;
  }
  std::byte* taken = slabs_[slab_].memory.get() + used_;
  used_ += bytes;
  return taken;
}

}  // namespace mamba3
