// Products of a batch of rows, between the thin ones and cuBLASLt's, against float64.
#include "gpu/matrix.h"
#include "ops/linear/batch_cuda.h"

namespace mamba3::test {
namespace {

class GpuBatch : public OnGpu {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    if (!IsSkipped() && cuda::cuda_info().devices.front().major < 9)
      GTEST_SKIP() << "from compute capability 9.0 on";
  }
};

using cuda::BatchProduct;
using cuda::GemmOutput;

struct BatchShape {
  std::int64_t outputs, inputs;
};
// Of several tiles and of parts of one, with few inputs and with so many that blocks share them.
const std::vector<BatchShape> kShapes = {{8, 8}, {264, 136}, {72, 4096}, {2048, 512}, {1000, 2056}};

TEST_F(GpuBatch, AgreesWithFloat64AndRowsDoNotDependOnEachOther) {
  for (const BatchShape& s : kShapes) {
    SCOPED_TRACE(std::to_string(s.outputs) + " outputs, " + std::to_string(s.inputs) + " inputs");
    const std::int64_t most = cuda::kMostBatchRows;
    const GpuMatrix W(DType::bf16, s.outputs, s.inputs, 1, stream());
    const auto x = rounded(uniform(2, most * s.inputs, -1, 1));
    const auto device_x = on_device(x, stream());
    const auto run = [&](std::int64_t first, std::int64_t rows) {
      const auto y = poisoned<float>(rows * s.outputs, stream());
      const BatchProduct p{.W = reinterpret_cast<const bf16*>(W.view().planes[0]),
                           .outputs = s.outputs,
                           .inputs = s.inputs,
                           .x = device_x.data() + first * s.inputs,
                           .x_stride = s.inputs,
                           .output = GemmOutput::f32,
                           .y = y.data(),
                           .y_stride = s.outputs};
      cuda::batch_linear({&p, 1}, static_cast<int>(rows), false, stream());
      return on_host(y, stream());
    };
    const auto all = run(0, most);
    EXPECT_LE(error_of(all, product(x, W)), 1e-5);
    for (const std::int64_t rows : {17, 31, 32, 33, 64, 100, 127}) {
      const std::int64_t first = most - rows;
      EXPECT_TRUE(equal_bits(run(first, rows), {all.begin() + first * s.outputs, all.end()}))
          << rows << " rows";
    }
  }
}

// As a layer does it: several matrices with inputs of their own, rows that lie apart, and the residual
// stream.
TEST_F(GpuBatch, MakesSeveralProductsAtOnce) {
  const std::int64_t rows = 45, gap = 16;
  const GpuMatrix first(DType::bf16, 200, 1024, 1, stream()), second(DType::bf16, 96, 512, 2, stream());
  const auto x = rounded(uniform(3, rows * 1024, -1, 1));
  const auto residual = uniform(4, rows * 96, -1, 1);
  const auto device_x = on_device(x, stream());
  const auto y = zeros<bf16>(rows * (200 + gap), stream());
  const auto sum = on_device(residual, stream());
  const BatchProduct products[] = {{.W = reinterpret_cast<const bf16*>(first.view().planes[0]),
                                    .outputs = 200,
                                    .inputs = 1024,
                                    .x = device_x.data(),
                                    .x_stride = 1024,
                                    .y = y.data(),
                                    .y_stride = 200 + gap},
                                   {.W = reinterpret_cast<const bf16*>(second.view().planes[0]),
                                    .outputs = 96,
                                    .inputs = 512,
                                    .x = device_x.data() + 512,
                                    .x_stride = 1024,
                                    .output = GemmOutput::add_f32,
                                    .y = sum.data(),
                                    .y_stride = 96}};
  cuda::batch_linear(products, rows, true, stream());
  const auto expected = product(x, first);
  const auto found = on_host(y, stream());
  RelativeError error;
  for (std::int64_t i = 0; i < std::ssize(found); ++i) {
    const std::int64_t row = i / (200 + gap), column = i % (200 + gap);
    if (column < 200) error.add(as_double(found[i]), expected[row * 200 + column]);
    if (column >= 200) {
      EXPECT_EQ(as_double(found[i]), 0) << "behind a row";
    }
  }
  EXPECT_LE(error.value(), kBf16Unit);
  std::vector<bf16> right;
  for (std::int64_t i = 0; i < rows; ++i) right.insert(right.end(), &x[i * 1024 + 512], &x[i * 1024] + 1024);
  auto sums = product(right, second);
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += residual[i];
  EXPECT_LE(error_of(on_host(sum, stream()), sums), 1e-5);
}

}  // namespace
}  // namespace mamba3::test
