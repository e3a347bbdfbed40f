// Products with many rows, y = x W^T, by cuBLASLt.
//
// W [outputs, inputs] and x [rows, inputs] are row-major, as PyTorch's Linear has them; sums are float32. A
// shape's plan (cuBLASLt's descriptors and the first algorithm of its heuristic) is made once and kept: the
// same shape gives the same bits, in every process on the same device.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

namespace mamba3::cuda {

/// Types of x and W. float32 products are float32 throughout: TF32 is never used.
enum class GemmInput { bf16, f16, f32 };

/// What becomes of x W^T: written to y, or added to a float32 y in place (the residual stream).
enum class GemmOutput { bf16, f32, add_f32 };

/// Strides are values from row to row of x and y; 0: dense. Addresses of rows are multiples of 16 bytes.
struct GemmShape {
  std::int64_t rows = 0;
  std::int64_t outputs = 0;
  std::int64_t inputs = 0;
  GemmInput input = GemmInput::bf16;
  GemmOutput output = GemmOutput::bf16;
  std::int64_t x_stride = 0;
  std::int64_t y_stride = 0;

  auto operator<=>(const GemmShape&) const = default;
};

/// Bytes of workspace: what cuBLASLt recommends for Hopper. It holds the partial sums of a product whose
/// inputs are split among blocks.
inline constexpr std::size_t kGemmWorkspace = std::size_t{32} << 20;

/// cuBLASLt's handle and plans. Not for several threads at once; products that run at the same time (on
/// several streams) need a Gemm with a workspace of its own each.
class Gemm {
 public:
  /// `workspace` [kGemmWorkspace] is device memory aligned to 256 bytes and outlives this.
  explicit Gemm(std::byte* workspace);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  /// Makes the shape's plan. run() does so too, but not while a graph is captured: prepare before.
  /// Throws Error(device) with cuBLASLt's status when it has no algorithm for the shape.
  void prepare(const GemmShape& shape) { plan(shape); }

  /// y = x W^T (or y += x W^T) in `stream`.
  void run(const GemmShape& shape, const void* W, const void* x, void* y, cudaStream_t stream);

 private:
  struct Plan;
  const Plan& plan(const GemmShape& shape);

  cublasLtHandle_t handle_ = nullptr;
  std::byte* workspace_;
  std::map<GemmShape, std::unique_ptr<Plan>> plans_;
};

}  // namespace mamba3::cuda
