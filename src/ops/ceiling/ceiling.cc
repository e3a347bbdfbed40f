#include "ops/ceiling/ceiling.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>

#include "core/threads.h"

namespace mamba3 {
namespace {

constexpr std::int64_t kProbeBytes = 384'000'000;
constexpr std::int64_t kCacheMultiple = 8;  // at most an eighth of a pass can come from the cache
// A whole huge page, so that no two threads walk through one; a pass has some two hundred of them, which the
// threads finish within half a percent of each other.
constexpr std::int64_t kPiece = std::int64_t{2} << 20;

/// Bytes of the cache that all cores of a cluster share; 0 when the system does not say. (sysconf adds up
/// what whole packages have.)
std::int64_t third_level_cache() {
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");
  std::int64_t kilobytes = 0;
  file >> kilobytes;
  return kilobytes * 1024;
}

std::size_t probe_bytes() {
  const std::int64_t wanted = std::max(kProbeBytes, kCacheMultiple * third_level_cache());
  return static_cast<std::size_t>((wanted + kPiece - 1) / kPiece * kPiece);
}

template <typename Work>
double seconds_of(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

ReadProbe::ReadProbe() : memory_(probe_bytes()) {
  // Every page its own: untouched ones all show the one page of zeros.
  parallel_each(bytes() / kPiece,
                [&](std::int64_t i) { std::memset(memory_.data() + i * kPiece, 1, kPiece); });
}

double ReadProbe::rate() const {
  std::atomic<std::uint64_t> sink = 0;
  const double seconds = seconds_of([&] {
    parallel_each(bytes() / kPiece, [&](std::int64_t i) {
      sink.fetch_xor(cpu::read_all({memory_.data() + i * kPiece, kPiece}), std::memory_order_relaxed);
    });
  });
  return static_cast<double>(bytes()) / seconds;
}

std::optional<double> dot_rate(DotType type) {
  const auto dot = type == DotType::f32    ? cpu::dot_f32
                   : type == DotType::bf16 ? cpu::dot_bf16
                                           : cpu::dot_int8;
  // 12 sums at one a cycle: some 60 microseconds a piece, and 150 pieces a thread.
  constexpr std::int64_t kRounds = 20'000, kPieces = 150;
  std::atomic<std::int64_t> operations = 0;
  const double seconds = seconds_of(
      [&] { parallel_each(kPieces * threads(), [&](std::int64_t) { operations.fetch_add(dot(kRounds)); }); });
  if (operations == 0) return std::nullopt;
  return static_cast<double>(operations) / seconds;
}

}  // namespace mamba3
