// Scratch memory for activations: taken in order, given back all at once, kept for the next call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace mamba3 {

/// Grows by whole slabs until the largest call fits; from then on a call allocates nothing. Pointers are
/// aligned to 64 bytes and hold what the last user left there. Not for several threads at once.
class Arena {
 public:
  /// `count` values of a trivial type, until the enclosing Scope ends.
  template <typename T>
  T* take(std::int64_t count) {
    return reinterpret_cast<T*>(take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
  }

  /// Gives everything taken during its life back at its end.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), slab_(arena.slab_), used_(arena.used_) {}
    ~Scope() {
      arena_.slab_ = slab_;
      arena_.used_ = used_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    std::size_t slab_;
    std::size_t used_;
  };

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  struct Slab {
    std::unique_ptr<std::byte, Free> memory;
    std::size_t size;
  };

  std::byte* take_bytes(std::size_t bytes);

  std::vector<Slab> slabs_;
  std::size_t slab_ = 0;  // the slab in use
  std::size_t used_ = 0;  // bytes of it that are taken
};

}  // namespace mamba3
