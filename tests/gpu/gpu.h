// What tests of kernels share: a GPU or a skipped test, and comparisons.
#pragma once

#include <cuda_bf16.h>
#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <vector>

#include "core/device_info.h"
#include "gpu/device_memory.h"
#include "gpu/reference_head.h"
#include "operations/bounds.h"

namespace mamba3::test {

using bf16 = __nv_bfloat16;

/// Skipped on a machine without a GPU.
class OnGpu : public testing::Test {
 protected:
  void SetUp() override {
    const CudaInfo info = cuda::cuda_info();
    if (info.devices.empty()) GTEST_SKIP() << info.missing;
    cuda::use_device(0);
    own_ = std::make_unique<cuda::Stream>();
  }
  void TearDown() override { own_.reset(); }
  cudaStream_t stream() const { return own_->get(); }

 private:
  std::unique_ptr<cuda::Stream> own_;
};

/// Relative error of one rounding to bfloat16's 8 bits: at most this.
inline constexpr double kBf16Unit = 0x1p-8;

inline std::vector<bf16> rounded(const std::vector<float>& values) {
  std::vector<bf16> all;
  for (const float v : values) all.push_back(__float2bfloat16_rn(v));
  return all;
}

template <typename Found, typename Expected>
double error_of(const std::vector<Found>& found, const std::vector<Expected>& expected) {
  if (found.size() != expected.size()) return std::numeric_limits<double>::infinity();
  RelativeError error;
  for (std::size_t i = 0; i < found.size(); ++i)
    error.add(as_double(found[i]), static_cast<double>(expected[i]));
  return error.value();
}

/// Largest difference on the circle; NaN when anything is.
template <typename Found>
double circle_error(const std::vector<Found>& found, const std::vector<double>& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double apart =
        std::abs(std::remainder(static_cast<double>(found[i]) - expected[i], 2 * std::numbers::pi));
    if (!(apart <= worst)) worst = apart;
  }
  return found.size() == expected.size() ? worst : std::numeric_limits<double>::infinity();
}

/// The same bits, NaN and signs of zero included.
template <typename T>
testing::AssertionResult equal_bits(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return testing::AssertionFailure() << a.size() << " values against " << b.size();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(T)) != 0) return testing::AssertionFailure() << "value " << i;
  }
  return testing::AssertionSuccess();
}

}  // namespace mamba3::test
