// Dot product instructions that Highway 1.0.3 does not know.
#include <cstdint>

#include "core/processors.h"
#include "ops/ceiling/ceiling.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace mamba3 {
namespace {

constexpr int kSums = 12;  // independent, at a latency of up to 6 cycles and up to two a cycle

__attribute__((target("avx512f,avx512bf16"))) float bf16_sums(std::int64_t rounds) {
  __m512 sums[kSums];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  const __m512bh ones = _mm512_cvtne2ps_pbh(_mm512_set1_ps(1), _mm512_set1_ps(1));
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (__m512& sum : sums) sum = _mm512_dpbf16_ps(sum, ones, ones);
  }
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  float lanes[16];
  _mm512_storeu_ps(lanes, sums[0]);
  return lanes[0];
}

__attribute__((target("avx512f,avx512vnni"))) int int8_sums(std::int64_t rounds) {
  __m512i sums[kSums];
  for (__m512i& sum : sums) sum = _mm512_setzero_si512();
  const __m512i ones = _mm512_set1_epi8(1);
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, ones, ones);
  }
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
  int lanes[16];
  _mm512_storeu_si512(lanes, sums[0]);
  return lanes[0];
}

}  // namespace

std::int64_t cpu::dot_bf16(std::int64_t rounds) {
  if (!has_avx512_bf16()) return 0;
  volatile float sink = bf16_sums(rounds);
  (void)sink;
  return rounds * kSums * 32 * 2;
}

std::int64_t cpu::dot_int8(std::int64_t rounds) {
  if (!has_avx512_vnni()) return 0;
  volatile int sink = int8_sums(rounds);
  (void)sink;
  return rounds * kSums * 64 * 2;
}

}  // namespace mamba3

#else

namespace mamba3 {

std::int64_t cpu::dot_bf16(std::int64_t) {
  return 0;
}
std::int64_t cpu::dot_int8(std::int64_t) {
  return 0;
}

}  // namespace mamba3

#endif
