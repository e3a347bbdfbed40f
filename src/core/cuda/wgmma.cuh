// The matrix products of a warp group (four warps) of sm_90a, thin over PTX: operands in shared memory, or
// the left one in registers. They run asynchronously; sums lie as those of multiply_add (mma.cuh): warp w has
// rows 16 w to 16 w + 15.
#pragma once

#include <cstdint>

namespace mamba3::cuda {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
constexpr bool kWarpgroupProducts = true;
#else
constexpr bool kWarpgroupProducts = false;
#endif

/// Shared memory that this thread has written is to be read by the products that follow the next barrier.
__device__ inline void fence_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/// Holds values in their registers: in front of fence_products for what others have written, behind
/// wait_products for what the products have. Without it the compiler moves such writes and reads past them.
template <int kTiles>
__device__ inline void hold(float (&values)[kTiles][4]) {
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    asm volatile("" : "+f"(values[i][0]), "+f"(values[i][1]), "+f"(values[i][2]), "+f"(values[i][3]));
  }
}
template <int kTiles>
__device__ inline void hold(std::uint32_t (&values)[kTiles][4]) {
#pragma unroll
  for (int i = 0; i < kTiles; ++i) {
    asm volatile("" : "+r"(values[i][0]), "+r"(values[i][1]), "+r"(values[i][2]), "+r"(values[i][3]));
  }
}

/// Before the first product after registers of it were touched.
__device__ inline void fence_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Until all but the last kPending groups of products are done.
template <int kPending>
__device__ inline void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// Describes a matrix of rows of 128 bytes, whose 16-byte pieces are permuted by the row (piece i of row r at
/// i ^ r % 8); `address` is a multiple of 1,024, then `skipped` bytes: 32 for 16 columns, 2,048 for 16 rows.
/// `panel`: bytes to the next 64 columns, where rows are the inner index of the product.
struct SharedMatrix {
  std::uint32_t low;
  static constexpr std::uint32_t high =
      1024 >> 4 | 1u << 30;  // from eight rows to the next; permuted in 128 bytes

  __device__ SharedMatrix(std::uint32_t address, std::uint32_t panel)
      : low(address >> 4 | panel >> 4 << 16) {}
  __device__ SharedMatrix(const SharedMatrix& whole, int skipped) : low(whole.low + (skipped >> 4)) {}
};

/// d [64, 64] += a [64, 16] b [64, 16]^T, both in shared memory.
__device__ inline void multiply_add_group(float (&d)[8][4], SharedMatrix a, SharedMatrix b) {
  asm volatile(
      "{ .reg .pred adds; setp.ne.b32 adds, 1, 0; .reg .b64 a, b; mov.b64 a, {%32, %34}; mov.b64 b, {%33, "
      "%34}; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, "
      "%1, %2, %3, %4, %5, %6, %7, %8, "
      "%9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, "
      "%27, %28, %29, %30, %31}, a, b, adds, 1, 1, 0, 0; }"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]),
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]),
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),
        "+f"(d[7][2]), "+f"(d[7][3])
      : "r"(a.low), "r"(b.low), "n"(SharedMatrix::high));
}

/// d [64, 64] += a [64, 16] b [16, 64], a in registers as of multiply_add.
__device__ inline void multiply_add_group(float (&d)[8][4], const std::uint32_t (&a)[4], SharedMatrix b) {
  asm volatile(
      "{ .reg .pred adds; setp.ne.b32 adds, 1, 0; .reg .b64 b; mov.b64 b, {%36, %37}; "
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, "
      "%1, %2, %3, %4, %5, %6, %7, %8, "
      "%9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, "
      "%27, %28, %29, %30, %31}, {%32, %33, %34, %35}, b, adds, 1, 1, 1; }"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]),
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]),
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),
        "+f"(d[7][2]), "+f"(d[7][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low), "n"(SharedMatrix::high));
}

/// d [64, 128] += a [64, 16] b [16, 128], the same.
__device__ inline void multiply_add_group(float (&d)[16][4], const std::uint32_t (&a)[4], SharedMatrix b) {
  asm volatile(
      "{ .reg .pred adds; setp.ne.b32 adds, 1, 0; .reg .b64 b; mov.b64 b, {%68, %69}; "
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, "
      "%1, %2, %3, %4, %5, %6, %7, %8, "
      "%9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, "
      "%27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, "
      "%45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, "
      "%63}, {%64, %65, %66, %67}, b, adds, 1, 1, 1; }"
      : "+f"(d[0][0]), "+f"(d[0][1]), "+f"(d[0][2]), "+f"(d[0][3]), "+f"(d[1][0]), "+f"(d[1][1]),
        "+f"(d[1][2]), "+f"(d[1][3]), "+f"(d[2][0]), "+f"(d[2][1]), "+f"(d[2][2]), "+f"(d[2][3]),
        "+f"(d[3][0]), "+f"(d[3][1]), "+f"(d[3][2]), "+f"(d[3][3]), "+f"(d[4][0]), "+f"(d[4][1]),
        "+f"(d[4][2]), "+f"(d[4][3]), "+f"(d[5][0]), "+f"(d[5][1]), "+f"(d[5][2]), "+f"(d[5][3]),
        "+f"(d[6][0]), "+f"(d[6][1]), "+f"(d[6][2]), "+f"(d[6][3]), "+f"(d[7][0]), "+f"(d[7][1]),
        "+f"(d[7][2]), "+f"(d[7][3]), "+f"(d[8][0]), "+f"(d[8][1]), "+f"(d[8][2]), "+f"(d[8][3]),
        "+f"(d[9][0]), "+f"(d[9][1]), "+f"(d[9][2]), "+f"(d[9][3]), "+f"(d[10][0]), "+f"(d[10][1]),
        "+f"(d[10][2]), "+f"(d[10][3]), "+f"(d[11][0]), "+f"(d[11][1]), "+f"(d[11][2]), "+f"(d[11][3]),
        "+f"(d[12][0]), "+f"(d[12][1]), "+f"(d[12][2]), "+f"(d[12][3]), "+f"(d[13][0]), "+f"(d[13][1]),
        "+f"(d[13][2]), "+f"(d[13][3]), "+f"(d[14][0]), "+f"(d[14][1]), "+f"(d[14][2]), "+f"(d[14][3]),
        "+f"(d[15][0]), "+f"(d[15][1]), "+f"(d[15][2]), "+f"(d[15][3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.low), "n"(SharedMatrix::high));
}

}  // namespace mamba3::cuda
