// A row's likeliest token is found by several blocks; the last of them to finish goes on alone where more
// than that is asked for.
//
// Order: a candidate's key is its logit's bits, turned so that they grow as the logit falls, followed by its
// id. The order of keys is the CPU's order of candidates, and they are all different. "The first keys whose
// weights sum to more than a target" answers the three questions of sampling: with weights 1 the k-th
// candidate, with the probabilities where top_p ends, with the bent ones the draw. It is answered without
// sorting: by a histogram of the weights over ranges of keys, then over ranges of the one in which the target
// lies, until that holds a few candidates.
#include <algorithm>
#include <cfloat>

#include "core/cuda/runtime.h"
#include "core/splitmix.h"
#include "ops/sample/block.cuh"
#include "ops/sample/sample_cuda.h"

namespace mamba3::cuda {
namespace {

using Key = unsigned long long;
using Mass = unsigned long long;

constexpr int kThreads = kSampleThreads;
constexpr int kMostSlices = 128;  // blocks of a row
constexpr int kList = kThreads;   // candidates that are sorted: one a thread
constexpr int kDigit = 11;        // bits of a key that a histogram tells apart: two bins a thread
constexpr int kBins = 1 << kDigit;
// Bins of the first histogram: 1/64 of a nat each, 32 nats below the likeliest; the last takes the rest,
// 1e-14 of it.
constexpr float kBinsPerNat = 64;
// Weights are integers, whose sums do not depend on an order: of a likeliest token's probability. 2^46 times
// 2^17 candidates stay below 2^64.
constexpr float kMassUnit = 0x1p46f;

__device__ unsigned falling_bits(float logit) {
  const unsigned bits = __float_as_uint(logit + 0.0f);  // -0 is 0
  return (bits & 0x80000000u) != 0 ? bits : ~(bits | 0x80000000u);
}

__device__ float logit_of(unsigned falling) {
  return __uint_as_float((falling & 0x80000000u) != 0 ? falling : ~falling & 0x7fffffffu);
}

// One row of logits with the likeliest of them, for one block.
struct Row {
  const float* logits;
  int words;
  int id_bits;
  bool aligned;
  float top;

  __device__ Key key(int id, float logit) const {
    return Key{falling_bits(logit)} << id_bits | static_cast<Key>(id);
  }
  __device__ float logit(Key key) const { return logit_of(static_cast<unsigned>(key >> id_bits)); }
  __device__ int id(Key key) const { return static_cast<int>(key & ((Key{1} << id_bits) - 1)); }
  __device__ int bin(float logit) const {
    return static_cast<int>(fminf((top - logit) * kBinsPerNat, static_cast<float>(kBins - 1)));
  }
};

// work(id, logit) for ids [begin, end), shared among the block's threads; begin is a multiple of 4.
template <typename Work>
__device__ void for_each_logit(const float* logits, bool aligned, int begin, int end, const Work& work) {
  constexpr int kAtOnce = 4;
  int i = begin + 4 * static_cast<int>(threadIdx.x);
  if (aligned) {
    for (; i + 4 * (kAtOnce - 1) * kThreads + 3 < end; i += 4 * kAtOnce * kThreads) {
      float4 v[kAtOnce];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j)
        v[j] = __ldcg(reinterpret_cast<const float4*>(logits + i + 4 * j * kThreads));
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        const int id = i + 4 * j * kThreads;
        work(id, v[j].x), work(id + 1, v[j].y), work(id + 2, v[j].z), work(id + 3, v[j].w);
      }
    }
  }
  for (; i < end; i += 4 * kThreads) {
    for (int id = i; id < min(i + 4, end); ++id) work(id, __ldcg(logits + id));
  }
}

struct Shared {
  Mass mass[kBins];
  unsigned count[kBins];
  Key list[kList], sorted[kList];
  Mass warps[32];
  double sums[32];
  int listed;
  int bin;
  Mass before;
};

// The keys in which a target lies: those of one bin of the first histogram, then those with one prefix.
struct Range {
  int bin = -1;
  int shift = 64;
  Key prefix = 0;
  Mass target = 0;  // what is left of it inside the range
  unsigned count = 0;

  __device__ bool holds(const Row& row, Key key, float logit) const {
    return (bin < 0 || row.bin(logit) == bin) && (shift == 64 || key >> shift == prefix);
  }
};

// One step narrower: the part of the range in which the weights of the kept keys sum to more than the target.
template <typename Weight, typename Keep>
__device__ void narrow(Shared& s, const Row& row, Range& range, const Weight& weight, const Keep& keep) {
  const bool first = range.bin < 0;
  const int shift = first ? 64 : max(0, (range.shift == 64 ? 32 + row.id_bits : range.shift) - kDigit);
  for (int i = threadIdx.x; i < kBins; i += kThreads) s.mass[i] = 0, s.count[i] = 0;
  __syncthreads();
  for_each_logit(row.logits, row.aligned, 0, row.words, [&](int id, float logit) {
    const Key key = row.key(id, logit);
    if (!range.holds(row, key, logit) || !keep(key, logit)) return;
    const int at = first ? row.bin(logit) : static_cast<int>(key >> shift) & (kBins - 1);
    atomicAdd(&s.mass[at], weight(logit));
    atomicAdd(&s.count[at], 1u);
  });
  __syncthreads();
  const int mine = 2 * static_cast<int>(threadIdx.x);
  const Mass a = s.mass[mine], b = s.mass[mine + 1];
  const Mass end = block_prefix<Mass>(a + b, s.warps);
  if (end > range.target && end - a - b <= range.target) {
    const bool second = end - b <= range.target;
    s.bin = mine + (second ? 1 : 0);
    s.before = second ? end - b : end - a - b;
  }
  __syncthreads();
  range.target -= s.before;
  range.count = s.count[s.bin];
  if (first) {
    range.bin = s.bin;
  } else {
    // The digit may overlap the prefix where fewer bits than a digit's were left: those bits are the same.
    range.prefix = range.shift == 64 ? Key(s.bin)
                                     : (range.prefix << (range.shift - shift)) |
                                           (Key(s.bin) & ((Key{1} << (range.shift - shift)) - 1));
    range.shift = shift;
  }
  __syncthreads();
}

// s.sorted[0, n) = the n <= kList keys that `wanted` takes, in order. Returns n.
template <typename Wanted>
__device__ int sort_list(Shared& s, const Row& row, const Wanted& wanted) {
  if (threadIdx.x == 0) s.listed = 0;
  __syncthreads();
  for_each_logit(row.logits, row.aligned, 0, row.words, [&](int id, float logit) {
    const Key key = row.key(id, logit);
    if (wanted(key, logit)) s.list[atomicAdd(&s.listed, 1)] = key;
  });
  __syncthreads();
  const int n = s.listed, mine = static_cast<int>(threadIdx.x);
  if (mine < n) {
    int rank = 0;
    for (int i = 0; i < n; ++i) rank += s.list[i] < s.list[mine] ? 1 : 0;
    s.sorted[rank] = s.list[mine];
  }
  __syncthreads();
  return n;
}

// The first kept key with which the weights sum to more than `target`, which is less than their sum.
template <typename Weight, typename Keep>
__device__ Key find(Shared& s, const Row& row, Mass target, const Weight& weight, const Keep& keep) {
  Range range;
  range.target = target;
  do narrow(s, row, range, weight, keep);
  while (range.count > kList && range.shift > 0);
  const int n = sort_list(
      s, row, [&](Key key, float logit) { return range.holds(row, key, logit) && keep(key, logit); });
  const int mine = static_cast<int>(threadIdx.x);
  const Mass w = mine < n ? weight(row.logit(s.sorted[mine])) : 0;
  const Mass end = block_prefix<Mass>(w, s.warps);
  if (end > range.target && end - w <= range.target) s.bin = mine;
  __syncthreads();
  const Key found = s.sorted[s.bin];
  __syncthreads();
  return found;
}

template <typename Weight, typename Keep>
__device__ Mass total_mass(Shared& s, const Row& row, const Weight& weight, const Keep& keep) {
  Mass mine = 0;
  for_each_logit(row.logits, row.aligned, 0, row.words, [&](int id, float logit) {
    if (keep(row.key(id, logit), logit)) mine += weight(logit);
  });
  const Mass end = block_prefix<Mass>(mine, s.warps);
  __syncthreads();
  if (threadIdx.x == kThreads - 1) s.before = end;
  __syncthreads();
  return s.before;
}

// The CPU's way with the n likeliest candidates, s.sorted[0, n).
__device__ int draw_from_list(Shared& s, const Row& row, const SamplerSlot& slot, double u, int n) {
  const int mine = static_cast<int>(threadIdx.x);
  const double below = mine < n ? static_cast<double>(row.logit(s.sorted[mine])) - row.top : 0;
  const double relative = mine < n ? exp(below) : 0;
  const double sum = block_prefix(relative, s.sums);
  double* const last = reinterpret_cast<double*>(s.mass);  // of the whole list, then of what is kept of it
  if (mine == n - 1) last[0] = sum;
  __syncthreads();
  const bool kept =
      mine == 0 || (mine < n && sum - relative < slot.top_p * last[0] && relative >= slot.min_p);
  const int count = __syncthreads_count(kept);
  const double bent = mine < count ? exp(below / slot.temperature) : 0;
  const double end = block_prefix(bent, s.sums);
  if (mine == count - 1) last[1] = end;
  if (mine == 0) s.bin = count - 1;
  __syncthreads();
  if (mine < count && end > u * last[1]) atomicMin(&s.bin, mine);
  __syncthreads();
  return row.id(s.sorted[s.bin]);
}

// The draw from more candidates than a list has: all that are not behind `bound`.
__device__ int draw_from_row(Shared& s, const Row& row, const SamplerSlot& slot, double u, Key bound) {
  const auto relative = [&](float logit) { return __float2ull_rn(expf(logit - row.top) * kMassUnit); };
  const auto bent = [&](float logit) {
    return __float2ull_rn(expf((logit - row.top) / slot.temperature) * kMassUnit);
  };
  if (slot.top_p < 1) {
    const auto keep = [&](Key key, float) { return key <= bound; };
    const Mass total = total_mass(s, row, relative, keep);
    const auto enough = static_cast<Mass>(ceil(static_cast<double>(slot.top_p) * static_cast<double>(total)));
    bound = find(s, row, min(max(enough, Mass{1}), total) - 1, relative, keep);
  }
  const auto keep = [&](Key key, float logit) {
    return key <= bound && (logit == row.top || expf(logit - row.top) >= slot.min_p);
  };
  const Mass total = total_mass(s, row, bent, keep);
  const auto target = static_cast<Mass>(u * static_cast<double>(total));
  return row.id(find(s, row, min(target, total - 1), bent, keep));
}

__device__ int draw(Shared& s, const Row& row, const SamplerSlot& slot) {
  const double u = random_uniform(slot.seed, slot.draws);
  const auto one = [](float) { return Mass{1}; };
  const auto all = [](Key, float) { return true; };
  Key bound = ~Key{0};
  if (slot.top_k > 0 && slot.top_k < row.words) {
    const Mass target = static_cast<Mass>(slot.top_k) - 1;
    Range range;
    range.target = target;
    narrow(s, row, range, one, all);
    const Mass listed = target - range.target + range.count;  // with all bins before
    if (listed <= kList) {
      sort_list(s, row, [&](Key, float logit) { return row.bin(logit) <= range.bin; });
      return draw_from_list(s, row, slot, u, slot.top_k);
    }
    bound = find(s, row, target, one, all);
    if (slot.top_k <= kList) {
      const int n = sort_list(s, row, [&](Key key, float) { return key <= bound; });
      return draw_from_list(s, row, slot, u, n);
    }
  }
  if (row.words <= kList) {
    const int n = sort_list(s, row, all);
    return draw_from_list(s, row, slot, u, n);
  }
  return draw_from_row(s, row, slot, u, bound);
}

// The logits of the different ones among the last tokens, as far as they lie in [begin, end).
__device__ void penalize(const SampleBatch& b, const SamplerSlot& slot, float* logits, int begin, int end) {
  if (slot.repeat_penalty == 1) return;
  const int count = static_cast<int>(
      min(static_cast<unsigned long long>(slot.repeat_last), static_cast<unsigned long long>(slot.accepted)));
  const auto recent = [&](int i) {
    return b.recent[blockIdx.y * b.recent_capacity + (slot.accepted - 1 - i) % b.recent_capacity];
  };
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const int id = recent(i);
    bool repeated = id < begin || id >= end;
    for (int j = 0; j < i && !repeated; ++j) repeated = recent(j) == id;
    if (repeated) continue;
    const float logit = logits[id];
    logits[id] = logit > 0 ? logit / slot.repeat_penalty : logit * slot.repeat_penalty;
  }
  __syncthreads();
}

struct Scratch {
  Key best[kMostSlices];
  unsigned done;
};

// Grid: slices of a row, rows.
__global__ void __launch_bounds__(kThreads) sample_kernel(SampleBatch b, int id_bits) {
  __shared__ Shared s;
  __shared__ bool last;
  SamplerSlot& slot = b.slots[blockIdx.y];
  Scratch& scratch = reinterpret_cast<Scratch*>(b.scratch)[blockIdx.y];
  float* const logits = b.logits + blockIdx.y * b.vocab;
  const int slices = static_cast<int>(gridDim.x), words = static_cast<int>(b.words);
  Row row{logits, words, id_bits, b.vocab % 4 == 0, 0};
  const int length = (words + 4 * slices - 1) / (4 * slices) * 4;
  const int begin = min(words, length * static_cast<int>(blockIdx.x)), end = min(words, begin + length);
  penalize(b, slot, logits, begin, end);

  float best = -FLT_MAX;
  int best_id = begin;
  bool any = false;
  for_each_logit(logits, row.aligned, begin, end, [&](int id, float logit) {
    if (any && !(logit > best)) return;
    any = true, best = logit, best_id = id;
  });
  Key key = block_min(any ? row.key(best_id, best) : ~Key{0}, s.warps);
  if (threadIdx.x == 0) {
    scratch.best[blockIdx.x] = key;
    __threadfence();
    last = atomicInc(&scratch.done, slices - 1) == static_cast<unsigned>(slices - 1);
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  key = block_min(threadIdx.x < slices ? __ldcg(&scratch.best[threadIdx.x]) : ~Key{0}, s.warps);
  row.top = row.logit(key);
  const bool greedy = slot.temperature == 0;
  const int id = greedy ? row.id(key) : draw(s, row, slot);
  __syncthreads();  // the slot has been read
  if (threadIdx.x != 0) return;
  b.ids[blockIdx.y] = id;
  if (!greedy) ++slot.draws;
  if (b.recent_capacity > 0)
    b.recent[blockIdx.y * b.recent_capacity + slot.accepted % b.recent_capacity] = id;
  ++slot.accepted;
}

// Twice as many blocks as there are multiprocessors hide what a block waits for. A slice has at least 1,024
// words.
int slices_of(std::int64_t batch, std::int64_t words) {
  int device = 0, multiprocessors = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "asking for multiprocessors");
  const std::int64_t slices =
      std::min((2 * multiprocessors + batch - 1) / batch, (words + kThreads - 1) / kThreads);
  return static_cast<int>(std::clamp<std::int64_t>(slices, 1, kMostSlices));
}

}  // namespace

std::size_t sample_scratch(std::int64_t batch) {
  return static_cast<std::size_t>(batch) * sizeof(Scratch);
}

void sample(const SampleBatch& batch, cudaStream_t stream) {
  if (batch.batch == 0) return;
  int id_bits = 1;
  while (batch.words > std::int64_t{1} << id_bits) ++id_bits;
  const dim3 grid(static_cast<unsigned>(slices_of(batch.batch, batch.words)),
                  static_cast<unsigned>(batch.batch));
  sample_kernel<<<grid, kThreads, 0, stream>>>(batch, id_bits);
  check_launch("sample");
}

}  // namespace mamba3::cuda
