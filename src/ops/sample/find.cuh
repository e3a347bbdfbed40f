// "The first candidates whose weights sum to more than a target": with weights 1 the k-th candidate, with the
// probabilities where top_p ends, with the bent ones the draw.
//
// It is answered without sorting the row: by a histogram of the weights over bins, then over digits of the
// keys in the bin in which the target lies, until so few candidates are left that they can be sorted.
#pragma once

#include "ops/sample/row.cuh"

namespace mamba3::cuda {

/// Sums of weights: integers, so that they do not depend on an order.
using Mass = unsigned long long;

inline constexpr int kList = kSampleThreads;  // candidates that are sorted: one a thread

struct Shared {
  unsigned low[kBins], high[kBins];  // of a bin's mass
  Key list[kList], sorted[kList];
  Mass warps[32];
  double sums[32];
  double total, kept;
  int listed;
  int found;
  Mass before;
};

/// The candidates among which a target lies: those of one bin, then those of them with one prefix of the
/// keys.
struct Range {
  int bin = -1;
  int shift = 64;
  Key prefix = 0;
  Mass target = 0;  // what is left of it in the range

  __device__ bool holds(const Row& row, Key key, float logit) const {
    return (bin < 0 || row.bin(logit) == bin) && (shift == 64 || key >> shift == prefix);
  }
  __device__ int next_shift(const Row& row) const {
    return bin < 0 ? 64 : max(0, (shift == 64 ? 32 + row.id_bits : shift) - kDigit);
  }
};

__device__ inline void clear_bins(Shared& s) {
  for (int i = threadIdx.x; i < kBins; i += kSampleThreads) s.low[i] = s.high[i] = 0;
  __syncthreads();
}

__device__ inline void add_to_bin(Shared& s, int bin, Mass weight) {
  const auto low = static_cast<unsigned>(weight);
  const unsigned old = atomicAdd(&s.low[bin], low);
  const unsigned high = static_cast<unsigned>(weight >> 32) + (old + low < old ? 1 : 0);
  if (high != 0) atomicAdd(&s.high[bin], high);
}

__device__ inline Mass mass_of(const Shared& s, int bin) {
  return Mass{s.high[bin]} << 32 | s.low[bin];
}

/// The bin in which the bins' masses sum to more than the target, which is target_of(their sum): s.found,
/// with s.before in front of it. The two bins of a thread are neighbours.
template <typename Target>
__device__ Mass select_bin(Shared& s, const Target& target_of) {
  const int mine = 2 * static_cast<int>(threadIdx.x);
  const Mass a = mass_of(s, mine), b = mass_of(s, mine + 1);
  const Mass end = block_prefix<Mass>(a + b, s.warps);
  if (threadIdx.x == kSampleThreads - 1) s.before = end;
  __syncthreads();
  const Mass target = target_of(s.before);
  __syncthreads();
  if (end > target && end - a - b <= target) {
    const bool second = end - b <= target;
    s.found = mine + (second ? 1 : 0);
    s.before = second ? end - b : end - a - b;
  }
  __syncthreads();
  return target;
}

/// One step narrower.
template <typename Weight, typename Keep, typename Target>
__device__ void narrow(Shared& s, const Row& row, Range& range, const Weight& weight, const Keep& keep,
                       const Target& target_of) {
  const int shift = range.next_shift(row);
  clear_bins(s);
  for_each_candidate(row, [&](int id, float logit) {
    const Key key = row.key(id, logit);
    if (!range.holds(row, key, logit) || !keep(key, logit)) return;
    add_to_bin(s, range.bin < 0 ? row.bin(logit) : static_cast<int>(key >> shift) & (kBins - 1),
               weight(logit));
  });
  __syncthreads();
  range.target = select_bin(s, target_of) - s.before;
  if (range.bin < 0) {
    range.bin = s.found;
  } else {
    // The last digit may begin with bits that the prefix has already.
    const int fresh = min(kDigit, range.shift - shift);
    range.prefix = range.prefix << fresh | (Key(s.found) & ((Key{1} << fresh) - 1));
    range.shift = shift;
  }
  __syncthreads();
}

/// s.sorted = the candidates in bins up to `bin` that `wanted` takes, in order; returns how many they are.
/// More than kList are counted and not sorted.
template <typename Wanted>
__device__ int sort_list(Shared& s, const Row& row, int bin, const Wanted& wanted) {
  if (threadIdx.x == 0) s.listed = 0;
  __syncthreads();
  for_each_in_bins(row, bin, [&](int id, float logit) {
    const Key key = row.key(id, logit);
    if (!wanted(key, logit)) return;
    const int place = atomicAdd(&s.listed, 1);
    if (place < kList) s.list[place] = key;
  });
  __syncthreads();
  const int n = s.listed, mine = static_cast<int>(threadIdx.x);
  if (mine < n && n <= kList) {
    int rank = 0;
    for (int i = 0; i < n; ++i) rank += s.list[i] < s.list[mine] ? 1 : 0;
    s.sorted[rank] = s.list[mine];
  }
  __syncthreads();
  return n;
}

/// The first of the kept candidates with which their weights sum to more than target_of(the sum of all of
/// them), which must be less than that sum.
template <typename Weight, typename Keep, typename Target>
__device__ Key find(Shared& s, const Row& row, const Weight& weight, const Keep& keep,
                    const Target& target_of) {
  Range range;
  narrow(s, row, range, weight, keep, target_of);
  const auto wanted = [&](Key key, float logit) { return range.holds(row, key, logit) && keep(key, logit); };
  int n = sort_list(s, row, range.bin, wanted);
  while (n > kList) {  // not with a whole key
    const Mass left = range.target;
    narrow(s, row, range, weight, keep, [&](Mass) { return left; });
    n = sort_list(s, row, range.bin, wanted);
  }
  const int mine = static_cast<int>(threadIdx.x);
  const Mass w = mine < n ? weight(row.logit(s.sorted[mine])) : 0;
  const Mass end = block_prefix<Mass>(w, s.warps);
  if (end > range.target && end - w <= range.target) s.found = mine;
  __syncthreads();
  const Key found = s.sorted[s.found];
  __syncthreads();
  return found;
}

}  // namespace mamba3::cuda
