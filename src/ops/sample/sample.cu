// Blocks share the reading of a row's logits and note the likeliest of every 128; the last of them to finish
// chooses.
#include <algorithm>

#include "core/cuda/runtime.h"
#include "core/splitmix.h"
#include "ops/sample/find.cuh"
#include "ops/sample/sample_cuda.h"

namespace mamba3::cuda {
namespace {

constexpr int kThreads = kSampleThreads;
// A likeliest token's weight: that of 2^17 candidates stays below 2^64.
constexpr float kMassUnit = 0x1p46f;

// The CPU's way with the first n of s.sorted, which are the n likeliest candidates.
__device__ int draw_from_list(Shared& s, const Row& row, const SamplerSlot& slot, double u, int n) {
  const int mine = static_cast<int>(threadIdx.x);
  const double below = mine < n ? static_cast<double>(row.logit(s.sorted[mine])) - row.top : 0;
  const double relative = mine < n ? exp(below) : 0;
  const double sum = block_prefix(relative, s.sums);
  if (mine == n - 1) s.total = sum;
  __syncthreads();
  const bool kept =
      mine == 0 || (mine < n && sum - relative < slot.top_p * s.total && relative >= slot.min_p);
  const int count = __syncthreads_count(kept);
  const double bent = mine < count ? exp(below / slot.temperature) : 0;
  const double end = block_prefix(bent, s.sums);
  if (mine == count - 1) s.kept = end;
  if (mine == 0) s.found = count - 1;
  __syncthreads();
  if (mine < count && end > u * s.kept) atomicMin(&s.found, mine);
  __syncthreads();
  return row.id(s.sorted[s.found]);
}

// The draw from more candidates than a list has: all that are not behind `bound`.
__device__ int draw_from_row(Shared& s, const Row& row, const SamplerSlot& slot, double u, Key bound) {
  if (slot.top_p < 1) {
    const auto relative = [&](float logit) { return __float2ull_rn(expf(logit - row.top) * kMassUnit); };
    const auto keep = [&](Key key, float) { return key <= bound; };
    bound = find(s, row, relative, keep, [&](Mass total) {
      const auto enough =
          static_cast<Mass>(ceil(static_cast<double>(slot.top_p) * static_cast<double>(total)));
      return min(max(enough, Mass{1}), total) - 1;
    });
  }
  const auto bent = [&](float logit) {
    return __float2ull_rn(expf((logit - row.top) / slot.temperature) * kMassUnit);
  };
  const auto keep = [&](Key key, float logit) {
    return key <= bound && (slot.min_p == 0 || logit == row.top || expf(logit - row.top) >= slot.min_p);
  };
  return row.id(find(s, row, bent, keep, [&](Mass total) {
    return min(static_cast<Mass>(u * static_cast<double>(total)), total - 1);
  }));
}

// A bin that ends behind the k-th candidate: that many chunks have their likeliest before it.
__device__ int bin_of_chunks(Shared& s, const Row& row, int k) {
  clear_bins(s);
  for (int i = threadIdx.x; i < row.chunks(); i += kThreads) {
    add_to_bin(s, row.bin(logit_of(__ldcg(row.best + i))), 1);
  }
  __syncthreads();
  select_bin(s, [&](Mass) { return static_cast<Mass>(k) - 1; });
  return s.found;
}

__device__ int draw(Shared& s, const Row& row, const SamplerSlot& slot) {
  const double u = random_uniform(slot.seed, slot.draws);
  const auto all = [](Key, float) { return true; };
  const int top_k = slot.top_k == 0 ? row.words : min(slot.top_k, row.words);
  int bin = kBins - 1;
  if (top_k <= row.chunks()) {
    bin = bin_of_chunks(s, row, top_k);
  } else if (slot.top_p >= 1 && slot.min_p > 0) {  // nothing but min_p cuts off
    bin = min(row.bin(row.top + logf(slot.min_p)) + 1, kBins - 1);
  }
  if (bin < kBins - 1 || row.words <= kList) {
    const int n = sort_list(s, row, bin, [&](Key, float logit) { return row.bin(logit) <= bin; });
    if (n <= kList) return draw_from_list(s, row, slot, u, min(n, top_k));
  }
  if (top_k == row.words) return draw_from_row(s, row, slot, u, ~Key{0});
  const Key bound = find(
      s, row, [](float) { return Mass{1}; }, all, [&](Mass) { return static_cast<Mass>(top_k) - 1; });
  if (top_k > kList) return draw_from_row(s, row, slot, u, bound);
  sort_list(s, row, kBins - 1, [&](Key key, float) { return key <= bound; });
  return draw_from_list(s, row, slot, u, top_k);
}

// The logits of the different ones among the last tokens, as far as they lie in [begin, end).
__device__ void penalize(const SampleBatch& b, const SamplerSlot& slot, float* logits, int begin, int end) {
  if (slot.repeat_penalty == 1 || slot.repeat_last == 0) return;
  const auto accepted = static_cast<unsigned long long>(slot.accepted);
  const int count = static_cast<int>(min(static_cast<unsigned long long>(slot.repeat_last), accepted));
  const int capacity = static_cast<int>(b.recent_capacity);
  const int newest = static_cast<int>((accepted + capacity - 1) % capacity);
  const std::int32_t* const ring = b.recent + blockIdx.y * b.recent_capacity;
  const auto recent = [&](int i) { return ring[newest - i + (i > newest ? capacity : 0)]; };
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

// The likeliest of the row: the first of its chunks that has it, and the first in there.
__device__ int likeliest(Shared& s, Row& row) {
  Key best = ~Key{0};
  for (int i = threadIdx.x; i < row.chunks(); i += kThreads) {
    best = min(best, Key{__ldcg(row.best + i)} << 32 | static_cast<Key>(i));
  }
  best = block_min(best, s.warps);
  const auto falling = static_cast<unsigned>(best >> 32);
  const int chunk = static_cast<int>(best & 0xffffffffu);
  row.top = logit_of(falling);
  const float4 v = row.load(chunk);
  const int mine = falling_bits(v.x) == falling   ? 0
                   : falling_bits(v.y) == falling ? 1
                   : falling_bits(v.z) == falling ? 2
                   : falling_bits(v.w) == falling ? 3
                                                  : kChunk;
  return kChunk * chunk + warp_min(4 * static_cast<int>(threadIdx.x % 32) + mine);
}

// Grid: slices of a row, rows.
__global__ void __launch_bounds__(kThreads) sample_kernel(SampleBatch b, int id_bits) {
  __shared__ Shared s;
  __shared__ bool last;
  SamplerSlot& slot = b.slots[blockIdx.y];
  float* const logits = b.logits + blockIdx.y * b.vocab;
  Row row{logits, static_cast<int>(b.words), id_bits, b.vocab % 4 == 0, nullptr, 0};
  unsigned* const scratch = reinterpret_cast<unsigned*>(b.scratch) + blockIdx.y * (row.chunks() + 1);
  unsigned& done = scratch[row.chunks()];
  row.best = scratch;

  const int slices = static_cast<int>(gridDim.x), length = (row.chunks() + slices - 1) / slices;
  const int begin = length * static_cast<int>(blockIdx.x), end = min(row.chunks(), begin + length);
  penalize(b, slot, logits, kChunk * begin, min(row.words, kChunk * end));
  for_each_chunk(row, begin, end, [&](int chunk, const float4& v) {
    const unsigned best = __reduce_min_sync(
        ~0u, min(min(falling_bits(v.x), falling_bits(v.y)), min(falling_bits(v.z), falling_bits(v.w))));
    if (threadIdx.x % 32 == 0) scratch[chunk] = best;
  });
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(&done, slices - 1) == static_cast<unsigned>(slices - 1);
  __syncthreads();
  if (!last) return;
  __threadfence();

  int id = likeliest(s, row);
  const bool greedy = slot.temperature == 0;
  if (!greedy) id = draw(s, row, slot);
  __syncthreads();  // the slot has been read
  if (threadIdx.x != 0) return;
  b.ids[blockIdx.y] = id;
  if (!greedy) ++slot.draws;
  if (b.recent_capacity > 0)
    b.recent[blockIdx.y * b.recent_capacity + slot.accepted % b.recent_capacity] = id;
  ++slot.accepted;
}

std::int64_t chunks_of(std::int64_t words) {
  return (words + kChunk - 1) / kChunk;
}

// As many blocks as there are multiprocessors: one wave. A warp has at least one chunk.
int slices_of(std::int64_t batch, std::int64_t words) {
  int device = 0, multiprocessors = 0;
  check(cudaGetDevice(&device), "asking for the current device");
  check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
        "asking for multiprocessors");
  const std::int64_t warps = kThreads / 32;
  const std::int64_t slices = std::min(multiprocessors / batch, (chunks_of(words) + warps - 1) / warps);
  return static_cast<int>(std::max<std::int64_t>(slices, 1));
}

}  // namespace

std::size_t sample_scratch(std::int64_t batch, std::int64_t words) {
  return static_cast<std::size_t>(batch * (chunks_of(words) + 1)) * sizeof(unsigned);
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
