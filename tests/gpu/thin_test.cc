// Products of a few rows, with what stands before and behind them, against float64.
#include "gpu/matrix.h"
#include "ops/linear/cuda/thin_cuda.h"
#include "ops/norm/norm_ref.h"

namespace mamba3::test {
namespace {

class GpuThin : public OnGpu {};

using cuda::ThinInput;
using cuda::ThinProduct;
using cuda::ThinStore;

// Inputs meet BF16 weights rounded to bfloat16, F16 and quantized ones rounded to float16's 11 bits; float32
// ones lose what sums in float32 lose.
double input_unit(DType type) {
  return type == DType::f32 ? 1e-5 : type == DType::bf16 ? kBf16Unit : 0x1p-11;
}

bool fits(DType type, std::int64_t cols) {
  return cols % block_of(type).elements == 0;
}

struct ThinShape {
  std::int64_t outputs, inputs;
};
const std::vector<ThinShape> kShapes = {{1, 32}, {37, 96}, {64, 256}, {129, 1280}, {1000, 2048}};

template <typename Body>
void each_product(const Body& body) {
  for (const DType type : weight_types()) {
    for (const ThinShape& s : kShapes) {
      if (!fits(type, s.inputs)) continue;
      SCOPED_TRACE(std::string(name_of(type)) + " [" + std::to_string(s.outputs) + ", " +
                   std::to_string(s.inputs) + "]");
      body(type, s);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST_F(GpuThin, AgreesWithFloat64AndRowsDoNotDependOnEachOther) {
  each_product([&](DType type, const ThinShape& s) {
    const GpuMatrix W(type, s.outputs, s.inputs, 1, stream());
    const auto x = uniform(2, cuda::kMostThinRows * s.inputs, -1, 1);
    const auto device_x = on_device(x, stream());
    const auto expected = product(x, W);
    const auto run = [&](std::int64_t first, std::int64_t rows) {
      const auto y = poisoned<float>(rows * s.outputs, stream());
      const ThinProduct p{.W = W.view(), .store = ThinStore::f32, .y = y.data()};
      cuda::thin_linear({.x = device_x.data() + first * s.inputs}, {&p, 1}, static_cast<int>(rows), false,
                        stream());
      return on_host(y, stream());
    };
    const auto all = run(0, cuda::kMostThinRows);
    EXPECT_LE(error_of(all, expected), input_unit(type));
    for (const std::int64_t rows : {1, 2, 3, 7, 8, 9, 15}) {
      const std::int64_t first = cuda::kMostThinRows - rows;
      EXPECT_TRUE(equal_bits(run(first, rows), {all.begin() + first * s.outputs, all.end()}))
          << rows << " rows";
    }
  });
}

TEST_F(GpuThin, TakesNormsBefore) {
  each_product([&](DType type, const ThinShape& s) {
    const std::int64_t rows = 13;
    const GpuMatrix W(type, s.outputs, s.inputs, 1, stream());
    const auto x = uniform(2, rows * s.inputs, -3, 5), gain = uniform(3, s.inputs, 0.5, 1.5);
    const auto bias = uniform(4, s.inputs, -0.5, 0.5);
    const auto device_x = on_device(x, stream()), device_gain = on_device(gain, stream());
    const auto device_bias = on_device(bias, stream());
    for (const bool layer_norm : {false, true}) {
      const auto x64 = doubles_from(x.data(), std::ssize(x)), gain64 = doubles_from(gain.data(), s.inputs);
      const auto bias64 = doubles_from(bias.data(), s.inputs);
      std::vector<double> normed(x.size());
      for (std::int64_t i = 0; i < rows; ++i) {
        reference::norm(gain64.data(), layer_norm ? bias64.data() : nullptr, &x64[i * s.inputs], s.inputs,
                        &normed[i * s.inputs]);
      }
      const auto y = poisoned<float>(rows * s.outputs, stream());
      const ThinProduct p{.W = W.view(), .store = ThinStore::f32, .y = y.data()};
      cuda::thin_linear({.x = device_x.data(),
                         .gain = device_gain.data(),
                         .bias = layer_norm ? device_bias.data() : nullptr},
                        {&p, 1}, rows, false, stream());
      EXPECT_LE(error_of(on_host(y, stream()), product(normed, W)), 1.1 * input_unit(type))
          << (layer_norm ? "LayerNorm" : "RMSNorm");
    }
  });
}

TEST_F(GpuThin, AddsToTheResidual) {
  each_product([&](DType type, const ThinShape& s) {
    const std::int64_t rows = 5;
    const GpuMatrix W(type, s.outputs, s.inputs, 1, stream());
    const auto x = rounded(uniform(2, rows * s.inputs, -1, 1));
    const auto residual = uniform(3, rows * s.outputs, -1, 1);
    const auto device_x = on_device(x, stream());
    const auto y = on_device(residual, stream());
    const ThinProduct p{.W = W.view(), .store = ThinStore::add_f32, .y = y.data()};
    cuda::thin_linear({.x_bf16 = device_x.data()}, {&p, 1}, rows, true, stream());
    auto expected = product(x, W);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += residual[i];
    EXPECT_LE(error_of(on_host(y, stream()), expected), type == DType::f32 ? 1e-5 : 0x1p-11);
  });
}

// (x up^T) silu(x gate^T), rounded to bfloat16.
TEST_F(GpuThin, Gates) {
  each_product([&](DType type, const ThinShape& s) {
    const std::int64_t rows = 4;
    const GpuMatrix up(type, s.outputs, s.inputs, 1, stream()), gate(type, s.outputs, s.inputs, 2, stream());
    const auto x = uniform(3, rows * s.inputs, -0.3, 0.3);
    const auto device_x = on_device(x, stream());
    const auto y = poisoned<bf16>(rows * s.outputs, stream());
    const ThinProduct p{.W = up.view(), .gate = gate.view(), .y = y.data()};
    cuda::thin_linear({.x = device_x.data()}, {&p, 1}, rows, false, stream());
    auto expected = product(x, up);
    const auto gates = product(x, gate);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] *= reference::silu(gates[i]);
    EXPECT_LE(error_of(on_host(y, stream()), expected), 2 * input_unit(type) + kBf16Unit);
  });
}

// As in_proj does it: rows of another width behind one input, float32 ones along with the others.
TEST_F(GpuThin, MakesSeveralProductsOfOneInput) {
  for (const DType type : weight_types()) {
    SCOPED_TRACE(std::string(name_of(type)));
    const std::int64_t rows = 2, K = 512, stride = 200;
    const GpuMatrix first(type, 160, K, 1, stream()), second(DType::f32, 35, K, 2, stream());
    const auto x = uniform(3, rows * K, -1, 1);
    const auto device_x = on_device(x, stream());
    const auto y = zeros<bf16>(rows * stride, stream());
    const auto z = poisoned<float>(rows * 35, stream());
    const ThinProduct products[] = {{.W = first.view(), .y = y.data(), .stride = stride},
                                    {.W = second.view(), .store = ThinStore::f32, .y = z.data()}};
    cuda::thin_linear({.x = device_x.data()}, products, rows, false, stream());
    EXPECT_LE(error_of(on_host(z, stream()), product(x, second)), 1e-5);
    const auto expected = product(x, first);
    const auto found = on_host(y, stream());
    RelativeError error;
    for (std::int64_t i = 0; i < rows * stride; ++i) {
      const std::int64_t column = i % stride;
      if (column < 160) error.add(as_double(found[i]), expected[i / stride * 160 + column]);
      if (column >= 160) {
        EXPECT_EQ(as_double(found[i]), 0) << "behind a row";
      }
    }
    EXPECT_LE(error.value(), input_unit(type) + kBf16Unit);
  }
}

}  // namespace
}  // namespace mamba3::test
