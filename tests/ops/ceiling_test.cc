#include "ops/ceiling/ceiling.h"

#include <gtest/gtest.h>
#include <hwy/base.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/threads.h"

namespace mamba3 {
namespace {

TEST(Ceiling, ReadsEveryByte) {
  for (const std::size_t size : {0, 1, 7, 8, 63, 255, 256, 1000, 4099}) {
    std::vector<std::byte> bytes(size, std::byte{1});
    const std::uint64_t before = cpu::read_all(bytes);
    for (std::byte& one : bytes) {
      one = std::byte{0x81};
      EXPECT_NE(cpu::read_all(bytes), before) << size;
      one = std::byte{1};
    }
    EXPECT_EQ(cpu::read_all(bytes), before);
  }
}

TEST(Ceiling, MemoryIsReadAtASaneRate) {
  const ReadProbe probe;
  EXPECT_GE(probe.bytes(), 384'000'000);
  const double rate = probe.rate();
  EXPECT_GT(rate, 1e8);  // a tenth of a slow phone's
  EXPECT_LT(rate, 1e13);
}

TEST(Ceiling, DotRatesAreSane) {
  for (const DotType type : {DotType::f32, DotType::bf16, DotType::int8}) {
    const auto rate = dot_rate(type);
    if (!rate) continue;
    EXPECT_GT(*rate, 1e8);
    EXPECT_LT(*rate, 1e13 * threads());
  }
  EXPECT_TRUE(dot_rate(DotType::f32).has_value());
}

TEST(Ceiling, InstructionsAreThoseTheProcessorNames) {
  // Under an emulator cpuinfo is the host's.
  if (HWY_ARCH_X86 == 0) GTEST_SKIP() << "the probes have dot products of x86 alone";
  std::ifstream file("/proc/cpuinfo");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto names = [&](const char* flag) { return text.find(flag) != std::string::npos; };
  EXPECT_EQ(dot_rate(DotType::bf16).has_value(), names(" avx512_bf16"));
  EXPECT_EQ(dot_rate(DotType::int8).has_value(), names(" avx512_vnni"));
}

TEST(Ceiling, CountsItsOperations) {
  EXPECT_EQ(cpu::dot_f32(20), 2 * cpu::dot_f32(10));
  EXPECT_GT(cpu::dot_f32(1), 0);
  // Twelve registers of sixteen sums; none without the instruction.
  const std::int64_t bf16 = cpu::dot_bf16(10), int8 = cpu::dot_int8(10);
  EXPECT_TRUE(bf16 == 0 || bf16 == 10 * 12 * 16 * 2 * 2) << bf16;
  EXPECT_TRUE(int8 == 0 || int8 == 10 * 12 * 16 * 4 * 2) << int8;
}

}  // namespace
}  // namespace mamba3
