// A test that runs on every backend, and the walk over a row of the table.
#pragma once

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <sstream>

#include "core/threads.h"
#include "mamba3/error.h"
#include "ops/linear/kernels_cpu.h"
#include "ops/norm/norm.h"
#include "table.h"
#include "values.h"

namespace mamba3::test {

/// Why a backend cannot run: its code is not in this build, or this machine has no such device. Nothing when
/// it can. Asked once, so that a device that fails later fails its test.
inline std::optional<ErrorCode> refusal(Device device) {
  const auto ask = [](Device which) -> std::optional<ErrorCode> {
    const float one = 1;
    float out = 0;
    try {
      norm(which, {&one, nullptr, 1}, &one, 1, &out);
      return std::nullopt;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::unsupported && error.code() != ErrorCode::device) throw;
      return error.code();
    }
  };
  static const std::optional<ErrorCode> of_cuda = ask(Device::cuda);
  return device == Device::cuda ? of_cuda : std::nullopt;
}

/// Every test of it runs once a backend, with one thread but for `steady`; a backend that this build or this
/// machine lacks is counted as skipped.
class OnBackend : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    if (refusal(device()).has_value()) {
      GTEST_SKIP() << GetParam().name << " is not in this build, or the machine has no such device";
    }
    use_instructions(GetParam().instructions);
    cpu::allow_dot_products(GetParam().dots);
    use_threads(1);
  }
  void TearDown() override {
    use_instructions(0);
    cpu::allow_dot_products(true);
    use_threads(0);
  }
  Device device() const { return GetParam().device; }

 private:
  static void use_instructions(std::int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

inline std::string backend_name(const testing::TestParamInfo<Backend>& info) {
  return info.param.name;
}

#define MAMBA3_ON_EVERY_BACKEND(suite) \
  INSTANTIATE_TEST_SUITE_P(Table, suite, testing::ValuesIn(backends()), backend_name)

/// n, where the variable MAMBA3_TEST_EVERY asks for every n-th case alone (an emulator is thirty times
/// slower); else 1.
inline int test_every() {
  const char* wish = std::getenv("MAMBA3_TEST_EVERY");
  return wish == nullptr ? 1 : std::max(1, std::atoi(wish));
}

/// Calls body(shape, type) for each of a row's shapes and each type that it takes.
template <typename Shape, typename Body>
void each_case(const Operation<Shape>& row, const Body& body) {
  int number = 0;
  for (const Shape& shape : row.shapes) {
    for (const DType type : row.types) {
      if (!takes(type, shape) || number++ % test_every() != 0) continue;
      std::ostringstream what;
      what << shape << ", " << name_of(type);
      SCOPED_TRACE(what.str());
      body(shape, type);
      if (testing::Test::HasFailure()) return;
    }
  }
}

/// The same for an operation without stored weights.
template <typename Shape, typename Body>
void each_shape(const Operation<Shape>& row, const Body& body) {
  for (const Shape& shape : row.shapes) {
    std::ostringstream what;
    what << shape;
    SCOPED_TRACE(what.str());
    body(shape);
    if (testing::Test::HasFailure()) return;
  }
}

/// What `make` gives with one thread, after checking that it gives the same again, and with two threads.
template <typename Make>
auto steady(const Make& make) {
  use_threads(1);
  const auto first = make();
  EXPECT_TRUE(same_bits(first, make())) << "a second run";
  use_threads(2);
  EXPECT_TRUE(same_bits(first, make())) << "two threads against one";
  use_threads(1);
  return first;
}

}  // namespace mamba3::test
