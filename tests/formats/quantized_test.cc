// The quantized types against ggml: what it reads from blocks, and what its quantizers make of values.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "formats/tensor_file.h"
#include "support.h"

namespace mamba3 {
namespace {

class Quantized : public testing::TestWithParam<DType> {
 protected:
  const TensorFile file = read_safetensors(test::fixtures() / "quantized" / "blocks.safetensors");

  std::span<const std::byte> bytes(const char* what) const {
    return file.tensors.at(std::string(name_of(GetParam())) + what).bytes;
  }
  std::vector<float> floats(const std::string& name) const {
    const auto from = file.tensors.at(name).bytes;
    std::vector<float> values(from.size() / sizeof(float));
    std::memcpy(values.data(), from.data(), from.size());
    return values;
  }
  template <typename Real>
  static std::vector<Real> decoded(std::span<const std::byte> blocks) {
    const Block block = block_of(GetParam());
    std::vector<Real> values(blocks.size() / static_cast<std::size_t>(block.bytes) *
                             static_cast<std::size_t>(block.elements));
    if constexpr (std::is_same_v<Real, float>) {
      to_float(GetParam(), blocks.data(), std::ssize(values), values.data());
    } else {
      to_double(GetParam(), blocks.data(), std::ssize(values), values.data());
    }
    return values;
  }
  std::vector<std::byte> encoded(const std::vector<float>& values, const float* importance) const {
    std::vector<std::byte> blocks(
        static_cast<std::size_t>(*mamba3::bytes_of(GetParam(), std::ssize(values))));
    from_float(GetParam(), values.data(), std::ssize(values), blocks.data(), importance);
    return blocks;
  }
};

/// The largest magnitude in the block of value i.
double largest(const std::vector<double>& values, std::size_t i, std::size_t of_block) {
  const std::size_t first = i / of_block * of_block;
  double most = 0;
  for (std::size_t j = first; j < std::min(first + of_block, values.size()); ++j)
    most = std::max(most, std::fabs(values[j]));
  return most;
}

double weighted_error(const std::vector<float>& a, const std::vector<float>& b, const std::vector<float>& w) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += w[i] * (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

/// sum w^2 / (sum w)^2, the mean over groups of so many values.
double effective_part(const std::vector<float>& w, std::size_t group) {
  double parts = 0;
  for (std::size_t first = 0; first < w.size(); first += group) {
    double sum = 0, squares = 0;
    for (std::size_t i = first; i < first + group; ++i) {
      sum += w[i];
      squares += double{w[i]} * w[i];
    }
    parts += squares / (sum * sum);
  }
  return parts * static_cast<double>(group) / static_cast<double>(w.size());
}

TEST_P(Quantized, BlocksAreReadAsGgmlReadsThem) {
  const auto found = decoded<float>(bytes(".blocks"));
  const auto expected = floats(std::string(name_of(GetParam())) + ".values");
  ASSERT_EQ(found.size(), expected.size());
  EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0);
}

TEST_P(Quantized, DoublesAreTheSameNumbersBeforeRounding) {
  const auto exact = decoded<double>(bytes(".blocks"));
  const auto rounded = decoded<float>(bytes(".blocks"));
  for (std::size_t i = 0; i < exact.size(); ++i) {
    // Three roundings to float32: the step, its product with the code, and the sum with the minimum. Random
    // codes fill the range, so the terms are below twice the largest value of 256.
    ASSERT_NEAR(rounded[i], exact[i], 3 * 0x1p-24 * 2 * largest(exact, i, 256)) << i;
  }
}

TEST_P(Quantized, TheErrorIsNoLargerThanGgmls) {
  const auto values = floats("weights");
  const auto mine = decoded<float>(encoded(values, nullptr)), ggml = decoded<float>(bytes(".ggml"));
  const std::vector<float> alike(values.size(), 1.0f);
  // The bytes of Q8_0 are ggml's; the others search for the same or longer.
  const double allowed = GetParam() == DType::q8_0 ? 1.0 : 0.99;
  EXPECT_LE(weighted_error(mine, values, alike), allowed * weighted_error(ggml, values, alike));
  if (GetParam() == DType::q8_0) {
    EXPECT_EQ(mine, ggml);
  }
}

TEST_P(Quantized, AnImportanceMatrixServesItsColumns) {
  if (GetParam() == DType::q8_0) return;  // takes none
  const auto values = floats("weights"), row = floats("imatrix");
  std::vector<float> importance;
  for (std::size_t i = 0; i < values.size(); ++i) importance.push_back(row[i % row.size()]);
  const auto with = decoded<float>(encoded(values, importance.data()));
  const auto without = decoded<float>(encoded(values, nullptr)),
             ggml = decoded<float>(bytes(".ggml_imatrix"));
  const double error = weighted_error(with, values, importance);
  // A scale fitted by least squares takes off the share 1 / n of a group's error, n = (sum w)^2 / sum w^2.
  // Half of it is asked: the quantizer's weights are the importance and the size of the values, and scales
  // are rounded, too.
  const double share = effective_part(importance, GetParam() == DType::q6_k ? 16 : 32);
  EXPECT_LT(error, (1 - share / 2) * weighted_error(without, values, importance));
  // Both weigh by more than the importance, and not by quite the same (ggml by sqrt(s^2 + x^2) for some
  // types, we by sqrt(2 s^2 + x^2)), so chance may favour either. An evenly spread error's square deviates by
  // 0.9 of its mean, a group's sum by 0.9 sqrt(share), the sum of 64 groups by 5 percent; less than half is
  // allowed.
  EXPECT_LE(error, 1.02 * weighted_error(ggml, values, importance));
}

INSTANTIATE_TEST_SUITE_P(Types, Quantized,
                         testing::Values(DType::q8_0, DType::q6_k, DType::q5_k, DType::q4_k, DType::q5_1,
                                         DType::q5_0, DType::q4_1, DType::q4_0),
                         [](const auto& type) { return std::string(name_of(type.param)); });

}  // namespace
}  // namespace mamba3
