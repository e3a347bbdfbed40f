// What the rowwise launchers can beyond the operations of the table.
#include "on_cuda.h"
#include "operations/bounds.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/cross_entropy/cross_entropy_ref.h"
#include "ops/norm/norm_cuda.h"

namespace mamba3::test {
namespace {

class CudaRows : public OnCuda {};

TEST_F(CudaRows, NormRoundsToBf16) {
  constexpr std::int64_t kRows = 5;
  for (const std::int64_t width : {1, 17, 384, 2049}) {
    Draw draw(2);
    const Floats x = draw(kRows * width);
    const NormWeights weights{up(draw(width, 0.3, 1)), up(draw(width)), width};
    auto* floats = unwritten_up<float>(kRows * width);
    auto* halves = unwritten_up<std::uint16_t>(kRows * width);
    cuda::norm(weights, up(x), kRows, floats, stream);
    cuda::norm(weights, up(x), kRows, reinterpret_cast<__nv_bfloat16*>(halves), stream);
    EXPECT_EQ(down(halves, kRows * width), rounded(down(floats, kRows * width))) << width;
  }
}

TEST_F(CudaRows, EntropyOfLogitsThatComeInSlices) {
  constexpr std::int64_t kTokens = 7, kVocab = 10000;
  Draw draw(3);
  const Floats logits = draw(kTokens * kVocab, 5);
  std::vector<std::int32_t> targets;
  for (std::int64_t i = 0; i < kTokens; ++i) targets.push_back(static_cast<std::int32_t>(draw.below(kVocab)));
  const float* all = up(logits);
  const std::int32_t* wanted = up(targets);
  auto* running = unwritten_up<cuda::RunningEntropy>(kTokens);
  auto* nll = unwritten_up<double>(kTokens);
  for (std::int64_t first = 0, width = 1; first < kVocab; first += width, width = 3 * width + 1) {
    width = std::min(width, kVocab - first);
    cuda::cross_entropy_slice(all + first, kVocab, first, width, wanted, kTokens, running, nll, stream);
  }
  const Doubles found = down(nll, kTokens), logits64 = doubles(logits);
  for (std::int64_t i = 0; i < kTokens; ++i) {
    const double* row = &logits64[i * kVocab];
    const auto [least, most] = std::minmax_element(row, row + kVocab);
    EXPECT_NEAR(found[i], reference::cross_entropy(row, kVocab, targets[i]),
                cross_entropy_bound(0, *most - *least));
  }
}

}  // namespace
}  // namespace mamba3::test
