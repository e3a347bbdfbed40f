// Tests of launchers, whose arguments lie in memory of the device.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <vector>

#include "core/cuda/staging.h"
#include "core/half.h"
#include "operations/backend.h"
#include "operations/values.h"

namespace mamba3::test {

using Bf16s = std::vector<std::uint16_t>;

/// Every test of it is skipped on a machine without a device.
class OnCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (refusal(Device::cuda).has_value()) GTEST_SKIP() << "the machine has no such device";
  }
  template <typename T>
  T* up(const std::vector<T>& values) {
    return staging.upload(values.data(), std::ssize(values));
  }
  /// `count` values of which each bit is set: NaN.
  template <typename T>
  T* unwritten_up(std::int64_t count) {
    const std::vector<unsigned char> bytes(static_cast<std::size_t>(count) * sizeof(T), 0xff);
    return reinterpret_cast<T*>(staging.upload(bytes.data(), std::ssize(bytes)));
  }
  template <typename T>
  std::vector<T> down(const T* device, std::int64_t count) {
    std::vector<T> values(static_cast<std::size_t>(count));
    staging.download(values.data(), device, count);
    return values;
  }

  cuda::Staging staging;
  const cudaStream_t stream = cuda::Staging::stream();
};

inline Bf16s rounded(const Floats& values) {
  Bf16s bits;
  for (const float v : values) bits.push_back(float_to_bf16(v));
  return bits;
}

inline Floats widened(const Bf16s& bits) {
  Floats values;
  for (const std::uint16_t v : bits) values.push_back(bf16_to_float(v));
  return values;
}

}  // namespace mamba3::test
