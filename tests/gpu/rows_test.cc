// Work on rows for tensor cores (norms, gates, unpacked weights) and slices of logits, against float64.
#include "gpu/matrix.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/cross_entropy/cross_entropy_ref.h"
#include "ops/linear/cuda/split_cuda.h"
#include "ops/norm/norm_bf16_cuda.h"
#include "ops/norm/norm_ref.h"
#include "ops/swiglu/gated_cuda.h"

namespace mamba3::test {
namespace {

class GpuRows : public OnGpu {};

struct NormCase {
  std::int64_t rows, width;
  bool layer_norm;
};

class NormRun {
 public:
  NormRun(const NormCase& given, cudaStream_t stream)
      : given_(given),
        x_(uniform(1, given.rows * given.width, -3, 5)),
        gain_(uniform(3, given.width, 0.5, 1.5)),
        bias_(uniform(4, given.width, -1, 1)),
        residual_(on_device(x_, stream)) {
    const auto gain = on_device(gain_, stream), bias = on_device(bias_, stream);
    const NormWeights weights{gain.data(), given.layer_norm ? bias.data() : nullptr, given.width};
    const auto run = [&](cuda::NormedRows form, std::int64_t width) {
      const auto out = poisoned<bf16>(given.rows * width, stream);
      cuda::norm_rows(weights, residual_.data(), given.rows, form, out.data(), stream);
      return on_host(out, stream);
    };
    plain = run(cuda::NormedRows::bf16, given.width);
    split = run(cuda::NormedRows::split, cuda::split_length(given.width));
  }

  std::vector<double> expected() const {
    const auto x = doubles_from(x_.data(), std::ssize(x_)), gain = doubles_from(gain_.data(), given_.width);
    const auto bias = doubles_from(bias_.data(), given_.width);
    std::vector<double> out(x.size());
    for (std::int64_t i = 0; i < given_.rows; ++i) {
      reference::norm(gain.data(), given_.layer_norm ? bias.data() : nullptr, &x[i * given_.width],
                      given_.width, &out[i * given_.width]);
    }
    return out;
  }

  std::vector<bf16> plain, split;

 private:
  NormCase given_;
  std::vector<float> x_, gain_, bias_;
  cuda::Buffer<float> residual_;
};

TEST_F(GpuRows, NormsAgreeWithFloat64) {
  for (const NormCase& given :
       {NormCase{1, 8, false}, NormCase{3, 24, true}, NormCase{5, 1000, false}, NormCase{70, 2048, false},
        NormCase{7, 2056, true}, NormCase{2, 16384, false}}) {
    SCOPED_TRACE(given.width);
    const NormRun run(given, stream());
    const auto expected = run.expected();
    EXPECT_LE(error_of(run.plain, expected), kBf16Unit);
    // Low, high, high: the sum of the first two is the value to 16 bits, the last is the rounded value.
    std::vector<double> joined;
    std::vector<bf16> last;
    for (std::int64_t i = 0; i < given.rows * given.width; ++i) {
      const bf16* row = &run.split[i / given.width * cuda::split_length(given.width)];
      const std::int64_t j = i % given.width;
      joined.push_back(as_double(row[j]) + as_double(row[given.width + j]));
      last.push_back(row[2 * given.width + j]);
      EXPECT_EQ(as_double(row[given.width + j]), as_double(last.back()));
    }
    EXPECT_LE(error_of(joined, expected), 1e-5);
    EXPECT_TRUE(equal_bits(last, run.plain));
  }
}

TEST_F(GpuRows, GatesAgreeWithFloat64) {
  for (const auto& [rows, width] : {std::pair{1, 8}, std::pair{5, 264}, std::pair{33, 4096}}) {
    const auto values = rounded(uniform(1, rows * 2 * width, -4, 4));
    const auto in = on_device(values, stream());
    const auto out = poisoned<bf16>(rows * width, stream());
    cuda::gated(in.data(), rows, width, out.data(), stream());
    std::vector<double> expected;
    for (std::int64_t i = 0; i < rows * width; ++i) {
      const bf16* row = &values[i / width * 2 * width];
      expected.push_back(as_double(row[i % width]) * reference::silu(as_double(row[width + i % width])));
    }
    EXPECT_LE(error_of(on_host(out, stream()), expected), kBf16Unit);
  }
}

TEST_F(GpuRows, UnpackedWeightsAreTheStoredOnes) {
  for (const DType type : weight_types()) {
    SCOPED_TRACE(std::string(name_of(type)));
    const std::int64_t rows = 37, cols = 768, first = 5, count = 30;
    const GpuMatrix W(type, rows, cols, 1, stream());
    const auto out = poisoned<bf16>(count * cols, stream());
    cuda::unpack_bf16(W.view(), first, count, out.data(), stream());
    std::vector<bf16> expected;
    for (std::int64_t i = first * cols; i < (first + count) * cols; ++i)
      expected.push_back(__float2bfloat16_rn(static_cast<float>(W.values()[i])));
    EXPECT_TRUE(equal_bits(on_host(out, stream()), expected));
    const auto part = poisoned<bf16>(count * cols, stream());
    cuda::unpack_bf16(cuda::rows_of(W.view(), first, count), 0, count, part.data(), stream());
    EXPECT_TRUE(equal_bits(on_host(part, stream()), expected)) << "a view of rows";
  }
}

// Slices of several widths, with a stride, as the head gives them.
TEST_F(GpuRows, CrossEntropyInSlicesAgreesWithFloat64) {
  const std::int64_t count = 19, vocab = 5003;
  const auto logits = uniform(1, count * vocab, -30, 30);
  std::vector<std::int32_t> targets;
  std::vector<double> expected;
  for (std::int64_t i = 0; i < count; ++i) {
    targets.push_back(static_cast<std::int32_t>(i * 277 % vocab));
    const auto row = doubles_from(&logits[i * vocab], vocab);
    expected.push_back(reference::cross_entropy(row.data(), vocab, targets.back()));
  }
  targets.front() = 0, targets.back() = static_cast<std::int32_t>(vocab - 1);
  for (const std::size_t i : {std::size_t{0}, targets.size() - 1}) {
    const auto row = doubles_from(&logits[static_cast<std::int64_t>(i) * vocab], vocab);
    expected[i] = reference::cross_entropy(row.data(), vocab, targets[i]);
  }
  const auto device_logits = on_device(logits, stream());
  const auto device_targets = on_device(targets, stream());
  const auto running = poisoned<cuda::RunningEntropy>(count, stream());
  const auto nll = poisoned<double>(count, stream());
  for (std::int64_t first = 0; first < vocab;) {
    const std::int64_t width = std::min<std::int64_t>(first == 0 ? 1 : 1234, vocab - first);
    cuda::cross_entropy_slice(device_logits.data() + first, vocab, first, width, device_targets.data(), count,
                              running.data(), nll.data(), stream());
    first += width;
  }
  const auto found = on_host(nll, stream());
  for (std::int64_t i = 0; i < count; ++i)
    EXPECT_NEAR(found[i], expected[i], cross_entropy_bound(0, 60)) << "token " << i;
}

}  // namespace
}  // namespace mamba3::test
