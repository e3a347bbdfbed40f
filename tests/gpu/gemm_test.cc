// Products of many rows by cuBLASLt against float64.
#include "gpu/matrix.h"
#include "ops/linear/cuda/gemm_cuda.h"

namespace mamba3::test {
namespace {

class GpuGemm : public OnGpu {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    if (IsSkipped()) return;
    workspace_ = cuda::Buffer<std::byte>(static_cast<std::int64_t>(cuda::kGemmWorkspace));
    gemm_ = std::make_unique<cuda::Gemm>(workspace_.data());
  }
  void TearDown() override {
    gemm_.reset();
    OnGpu::TearDown();
  }

  cuda::Buffer<std::byte> workspace_;
  std::unique_ptr<cuda::Gemm> gemm_;
};

using cuda::GemmInput;
using cuda::GemmOutput;
using cuda::GemmShape;

const std::vector<GemmShape> kShapes = {{.rows = 1, .outputs = 8, .inputs = 8},
                                        {.rows = 17, .outputs = 40, .inputs = 136},
                                        {.rows = 129, .outputs = 264, .inputs = 512},
                                        {.rows = 300, .outputs = 96, .inputs = 2048}};

TEST_F(GpuGemm, AgreesWithFloat64) {
  for (GemmShape shape : kShapes) {
    SCOPED_TRACE(shape.rows);
    const GpuMatrix W(DType::bf16, shape.outputs, shape.inputs, 1, stream());
    const auto x = rounded(uniform(2, shape.rows * shape.inputs, -1, 1));
    const auto residual = uniform(3, shape.rows * shape.outputs, -1, 1);
    const auto device_x = on_device(x, stream());
    auto expected = product(x, W);

    const auto y = poisoned<bf16>(shape.rows * shape.outputs, stream());
    gemm_->run(shape, W.view().planes[0], device_x.data(), y.data(), stream());
    EXPECT_LE(error_of(on_host(y, stream()), expected), kBf16Unit);

    shape.output = GemmOutput::f32;
    const auto z = poisoned<float>(shape.rows * shape.outputs, stream());
    gemm_->run(shape, W.view().planes[0], device_x.data(), z.data(), stream());
    const auto found = on_host(z, stream());
    EXPECT_LE(error_of(found, expected), 1e-5);
    gemm_->run(shape, W.view().planes[0], device_x.data(), z.data(), stream());
    EXPECT_TRUE(equal_bits(on_host(z, stream()), found)) << "a second run";

    shape.output = GemmOutput::add_f32;
    const auto sum = on_device(residual, stream());
    gemm_->run(shape, W.view().planes[0], device_x.data(), sum.data(), stream());
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += residual[i];
    EXPECT_LE(error_of(on_host(sum, stream()), expected), 1e-5);
  }
}

TEST_F(GpuGemm, TakesRowsThatLieApart) {
  const GemmShape shape{.rows = 33, .outputs = 48, .inputs = 64, .x_stride = 96, .y_stride = 56};
  const GpuMatrix W(DType::bf16, shape.outputs, shape.inputs, 1, stream());
  const auto wide = rounded(uniform(2, shape.rows * shape.x_stride, -1, 1));
  std::vector<bf16> x;
  for (std::int64_t i = 0; i < shape.rows; ++i)
    x.insert(x.end(), &wide[i * shape.x_stride], &wide[i * shape.x_stride] + shape.inputs);
  const auto device_x = on_device(wide, stream());
  const auto y = zeros<bf16>(shape.rows * shape.y_stride, stream());
  gemm_->run(shape, W.view().planes[0], device_x.data(), y.data(), stream());
  const auto expected = product(x, W);
  const auto found = on_host(y, stream());
  RelativeError error;
  for (std::int64_t i = 0; i < std::ssize(found); ++i) {
    const std::int64_t row = i / shape.y_stride, column = i % shape.y_stride;
    if (column < shape.outputs) error.add(as_double(found[i]), expected[row * shape.outputs + column]);
    if (column >= shape.outputs) {
      EXPECT_EQ(as_double(found[i]), 0) << "behind a row";
    }
  }
  EXPECT_LE(error.value(), kBf16Unit);
}

TEST_F(GpuGemm, KeepsFloat32Exact) {
  const GemmShape shape{
      .rows = 65, .outputs = 72, .inputs = 640, .input = GemmInput::f32, .output = GemmOutput::f32};
  const GpuMatrix W(DType::f32, shape.outputs, shape.inputs, 1, stream());
  const auto x = uniform(2, shape.rows * shape.inputs, -1, 1);
  const auto device_x = on_device(x, stream());
  const auto y = poisoned<float>(shape.rows * shape.outputs, stream());
  gemm_->run(shape, W.view().planes[0], device_x.data(), y.data(), stream());
  EXPECT_LE(error_of(on_host(y, stream()), product(x, W)), 1e-5);
}

}  // namespace
}  // namespace mamba3::test
