// The tensor cores and the copies that feed them, thin over PTX (sm_80 and later). Shared memory is addressed
// by 32-bit numbers, as its instructions take it.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

namespace mamba3::cuda {

__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

/// 16 bytes from global to shared memory, past the first-level cache; zeros where `valid` is false, when
/// nothing is read.
__device__ inline void copy_async(std::uint32_t to, const void* from, bool valid) {
  const int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
/// The same for 4 bytes.
__device__ inline void copy_async_word(std::uint32_t to, const void* from, bool valid) {
  const int bytes = valid ? 4 : 0;
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Until all but the last `kPending` groups of this thread's copies have arrived.
template <int kPending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

/// Four 8 x 8 tiles of bf16; lane 8 i + j gives the address of row j (16 bytes) of tile i. A lane receives,
/// of each tile, columns 2 (lane % 4) and the next of row lane / 4.
__device__ inline void load_tiles(std::uint32_t (&tile)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(tile[0]), "=r"(tile[1]), "=r"(tile[2]), "=r"(tile[3])
               : "r"(row));
}
/// The same, each tile transposed.
__device__ inline void load_tiles_transposed(std::uint32_t (&tile)[4], std::uint32_t row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(tile[0]), "=r"(tile[1]), "=r"(tile[2]), "=r"(tile[3])
               : "r"(row));
}

/// d [16, 8] += a [16, 16] b [16, 8]: bf16, summed in float32. A lane holds of d: columns 2 (lane % 4) and
/// the next of rows lane / 4 (d[0], d[1]) and lane / 4 + 8 (d[2], d[3]).
__device__ inline void multiply_add(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                                    std::uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Two values as bf16 in one word, `low` in the lower half; and back.
__device__ inline std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}
__device__ inline float low_bf16(std::uint32_t word) {
  return __uint_as_float(word << 16);
}
__device__ inline float high_bf16(std::uint32_t word) {
  return __uint_as_float(word & 0xffff0000u);
}
__device__ inline std::uint32_t multiply_bf16(std::uint32_t a, std::uint32_t b) {
  std::uint32_t product;
  asm("{ .reg .b32 zero; mov.b32 zero, 0x80008000; fma.rn.bf16x2 %0, %1, %2, zero; }"
      : "=r"(product)
      : "r"(a), "r"(b));
  return product;
}

/// Approximations of the special function unit (2 ulp or so).
__device__ inline float exp2_fast(float v) {
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(v));
  return power;
}
__device__ inline float log2_fast(float v) {
  float logarithm;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(logarithm) : "f"(v));
  return logarithm;
}
__device__ inline float tanh_fast(float v) {
  float tangent;
  asm("tanh.approx.f32 %0, %1;" : "=f"(tangent) : "f"(v));
  return tangent;
}
__device__ inline float reciprocal_fast(float v) {
  float reciprocal;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(reciprocal) : "f"(v));
  return reciprocal;
}

}  // namespace mamba3::cuda
