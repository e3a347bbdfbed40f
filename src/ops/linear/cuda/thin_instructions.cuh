// The instructions of the thin products that C++ has no words for.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

namespace mamba3::cuda::thin {

__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

/// Copies kBytes (4, 8 or 16) to shared memory in the background, zeros unless `valid`.
template <int kBytes>
__device__ inline void copy_async(void* to, const void* from, bool valid) {
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared_address(to)), "l"(from),
                 "n"(kBytes), "r"(valid ? kBytes : 0)
                 : "memory");
  }
}
__device__ inline void close_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until all but the last kGroups groups of this thread's copies are done.
template <int kGroups>
__device__ inline void wait_for_groups() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
}

struct Words2 {
  std::uint32_t x, y;
};

template <typename T>
__device__ inline T shared_load(const std::byte* from) {
  return *reinterpret_cast<const T*>(from);
}

/// c += a b for the tiles of mma.m16n8k16, in float16 or bf16.
template <bool kHalf>
__device__ inline void multiply_add(float (&c)[4], std::uint32_t a0, std::uint32_t a1, std::uint32_t a2,
                                    std::uint32_t a3, std::uint32_t b0, std::uint32_t b1) {
  if constexpr (kHalf) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  }
}

__device__ inline __half2 as_half2(std::uint32_t bits) {
  __half2 value;
  memcpy(&value, &bits, sizeof bits);
  return value;
}
__device__ inline std::uint32_t as_bits(__half2 value) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

/// (value & mask) | bits, in one instruction: the compiler makes two of it when both are constants.
__device__ inline std::uint32_t and_or(std::uint32_t value, std::uint32_t mask, std::uint32_t bits) {
  std::uint32_t result;
  asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(result) : "r"(value), "r"(mask), "r"(bits));
  return result;
}

__device__ inline float warp_sum(float value) {
  for (int d = 16; d > 0; d /= 2) value += __shfl_xor_sync(0xffffffff, value, d);
  return value;
}
__device__ inline float warp_max(float value) {
  for (int d = 16; d > 0; d /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, d));
  return value;
}

}  // namespace mamba3::cuda::thin
