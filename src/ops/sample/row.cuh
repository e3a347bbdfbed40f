// A row of logits, in the order in which candidates are taken.
//
// A candidate's key is its logit's bits, turned so that they grow as the logit falls, followed by its id: the
// order of keys is the CPU sampler's order of candidates, and they are all different.
#pragma once

#include "ops/sample/block.cuh"

namespace mamba3::cuda {

using Key = unsigned long long;

inline constexpr int kDigit = 11;  // bits of a key that a histogram tells apart: two bins a thread
inline constexpr int kBins = 1 << kDigit;
// Neighbouring candidates whose likeliest is noted, four a lane: one access of a warp.
inline constexpr int kChunk = 128;

__device__ inline unsigned falling_bits(float logit) {
  const unsigned bits = __float_as_uint(logit + 0.0f);  // -0 is 0
  return (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
}

__device__ inline float logit_of(unsigned falling) {
  return __uint_as_float((falling & 0x80000000u) != 0 ? falling : ~falling & 0x7fffffffu);
}

struct Row {
  const float* logits;
  int words;
  int id_bits;           // of a key
  bool aligned;          // to 16 bytes
  const unsigned* best;  // [chunks] the likeliest candidate's falling bits
  float top;             // the likeliest candidate's logit

  __device__ int chunks() const { return (words + kChunk - 1) / kChunk; }
  __device__ Key key(int id, float logit) const {
    return Key{falling_bits(logit)} << id_bits | static_cast<Key>(id);
  }
  __device__ float logit(Key key) const { return logit_of(static_cast<unsigned>(key >> id_bits)); }
  __device__ int id(Key key) const { return static_cast<int>(key & ((Key{1} << id_bits) - 1)); }

  /// Steps of 1/64 nat below the likeliest, up to 32 nats, where candidates have 1e-14 of its probability. A
  /// likelier candidate's bin is never higher. (Added to 2^23 a float is rounded to its lowest bits: quicker
  /// than a conversion.)
  __device__ int bin(float logit) const {
    const float steps = fminf((top - logit) * 64, static_cast<float>(kBins - 1));
    return static_cast<int>(__float_as_uint(steps + 0x1p23f) & (kBins - 1));
  }

  /// The four logits of a chunk that are this lane's; -infinity behind the end.
  __device__ float4 load(int chunk) const {
    const int id = kChunk * chunk + 4 * static_cast<int>(threadIdx.x % 32);
    if (aligned && id + 3 < words) return __ldcg(reinterpret_cast<const float4*>(logits + id));
    const auto one = [&](int i) { return i < words ? __ldcg(logits + i) : -INFINITY; };
    return {one(id), one(id + 1), one(id + 2), one(id + 3)};
  }
};

/// work(chunk, four logits) for chunks [begin, end), a warp a chunk, some in flight at once.
template <typename Work>
__device__ void for_each_chunk(const Row& row, int begin, int end, const Work& work) {
  constexpr int kAtOnce = 4, kWarps = kSampleThreads / 32;
  int chunk = begin + static_cast<int>(threadIdx.x / 32);
  for (; chunk + kWarps * (kAtOnce - 1) < end; chunk += kWarps * kAtOnce) {
    float4 v[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) v[i] = row.load(chunk + i * kWarps);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) work(chunk + i * kWarps, v[i]);
  }
  for (; chunk < end; chunk += kWarps) work(chunk, row.load(chunk));
}

/// work(id, logit) for every candidate, the block's threads together.
template <typename Work>
__device__ void for_each_candidate(const Row& row, const Work& work) {
  for_each_chunk(row, 0, row.chunks(), [&](int chunk, const float4& v) {
    const int id = kChunk * chunk + 4 * static_cast<int>(threadIdx.x % 32);
    if (id < row.words) work(id, v.x);
    if (id + 1 < row.words) work(id + 1, v.y);
    if (id + 2 < row.words) work(id + 2, v.z);
    if (id + 3 < row.words) work(id + 3, v.w);
  });
}

/// The same for the candidates in bins up to `bin`, and some others; chunks without any are not read.
template <typename Work>
__device__ void for_each_in_bins(const Row& row, int bin, const Work& work) {
  for (int chunk = static_cast<int>(threadIdx.x / 32); chunk < row.chunks(); chunk += kSampleThreads / 32) {
    if (row.bin(logit_of(__ldcg(row.best + chunk))) > bin) continue;
    const float4 v = row.load(chunk);
    const int id = kChunk * chunk + 4 * static_cast<int>(threadIdx.x % 32);
    if (id < row.words) work(id, v.x);
    if (id + 1 < row.words) work(id + 1, v.y);
    if (id + 2 < row.words) work(id + 2, v.z);
    if (id + 3 < row.words) work(id + 3, v.w);
  }
}

}  // namespace mamba3::cuda
