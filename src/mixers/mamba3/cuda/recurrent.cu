// A block walks one head of one sequence, in batches of tokens: the rotated q and k, values and weights of a
// batch are made side by side in shared memory; then each thread takes its piece of the state, which stays in
// registers, through the batch; then the batch is gated. Every token is computed alike wherever it stands in
// a batch.
#include "mixers/mamba3/cuda/recurrent_cuda.h"

#include <algorithm>
#include <type_traits>

#include "core/cuda/runtime.h"
#include "mixers/mamba3/cuda/recurrent_batch.cuh"
#include "mixers/mamba3/cuda/recurrent_piece.cuh"

namespace mamba3::cuda {
namespace {

using namespace recurrent;

constexpr int kMostThreads = 512;   // P = 128
constexpr int kLeastThreads = 128;  // one for each angle: there are at most N / 2
constexpr int kMostTokens = 16;     // of a batch: it takes six barriers and three waits for memory
constexpr int kSharedFloats = 96 * 1024 / sizeof(float);  // of the 99 KB that every device has

// Block (head, sequence).
template <int kQuads, int kRank, typename Row>
__global__ void __launch_bounds__(kMostThreads, 1)
    recur(Shape s, Mamba3Layout l, Mamba3Parameters weights, RecurrentRows<Row> rows,
          RecurrentSequences sequences) {
  extern __shared__ __align__(16) float memory[];
  const std::int64_t begin = sequences.cu_seqlens[blockIdx.y], end = sequences.cu_seqlens[blockIdx.y + 1];
  if (begin == end) return;
  const Head head(l, sequences.states[blockIdx.y] + sequences.offset, weights, blockIdx.x);
  const Batch m(s, memory);
  for (int i = threadIdx.x; i < Batch::size(s); i += blockDim.x) memory[i] = 0;  // padding stays so
  __syncthreads();

  const bool moves = Piece<kQuads>::p() < s.wide_p;
  Piece<kQuads> state;
  if (moves) state.load(l, head.h);
  float theta = threadIdx.x < s.S ? head.theta[threadIdx.x] : 0;
  load_start(s, l, head, m);
  for (std::int64_t first = begin; first < end; first += s.batch) {
    const int count = static_cast<int>(min(end - first, std::int64_t{s.batch}));
    load_tokens(s, head, rows, first, count, m);
    __syncthreads();
    turn(s, count, m, theta);
    __syncthreads();
    take_sines(s, count, m);
    __syncthreads();
    rotate_tokens<kQuads, kRank>(s, head, rows, first, count, m);
    __syncthreads();
    if (moves) {
      int i = 0;
      if constexpr (kRank == 1) {
        for (; i + kRows <= count; i += kRows) run_tokens<kQuads, kRank, kRows>(s, head.D, i, m, state);
      }
      for (; i < count; ++i) run_tokens<kQuads, kRank, 1>(s, head.D, i, m, state);
    }
    __syncthreads();
    gate_tokens(s, head, rows, first, count, m);
    keep_last(s, count, m);
    __syncthreads();
  }
  if (moves) state.store(l, head.h);
  store_end(s, l, head, rows.x + (end - 1) * rows.zx_stride + blockIdx.x * s.P, m, theta);
}

template <typename Row>
using Kernel = void (*)(Shape, Mamba3Layout, Mamba3Parameters, RecurrentRows<Row>, RecurrentSequences);

template <typename Row>
Kernel<Row> kernel_for(const Shape& s) {
  const int quads = s.wide_n / (kLanes * kQuad);
  const auto of_rank = [&]<int kRank>(std::integral_constant<int, kRank>) -> Kernel<Row> {
    return quads == 1 ? recur<1, kRank, Row> : quads == 2 ? recur<2, kRank, Row> : recur<4, kRank, Row>;
  };
  if (s.R == 1) return of_rank(std::integral_constant<int, 1>());
  if (s.R == 4) return of_rank(std::integral_constant<int, 4>());  // of the released models
  return of_rank(std::integral_constant<int, 0>());
}

Shape shape_of(const Mamba3Config& c) {
  const auto wide_p = (c.headdim + 2 * kHigh - 1) / (2 * kHigh) * (2 * kHigh);  // whole warps
  const int wide_n = c.d_state <= 64 ? 64 : c.d_state <= 128 ? 128 : 256;
  Shape s{.P = static_cast<int>(c.headdim),
          .N = static_cast<int>(c.d_state),
          .R = static_cast<int>(c.rank()),
          .S = static_cast<int>(c.n_angles()),
          .G = static_cast<int>(c.ngroups),
          .heads = static_cast<int>(c.n_heads()),
          .wide_p = static_cast<int>(wide_p),
          .wide_n = wide_n,
          .batch = 1,
          .is_mimo = c.is_mimo};
  s.batch = std::min(kMostTokens, (kSharedFloats - Batch::fixed(s)) / Batch::per_token(s));
  return s;
}

}  // namespace

bool takes_recurrent(const Mamba3Config& c) {
  if (c.d_state > 256 || c.headdim > 128 || c.rank() > kSharedFloats) return false;
  return shape_of(c).batch >= 1;
}

template <typename Row>
void mamba3_recurrent(const Mamba3Config& config, const Mamba3Layout& layout, const Mamba3Parameters& weights,
                      const RecurrentRows<Row>& rows, const RecurrentSequences& sequences,
                      cudaStream_t stream) {
  if (sequences.count == 0) return;
  const Shape s = shape_of(config);
  const auto bytes = Batch::size(s) * sizeof(float);
  const Kernel<Row> kernel = kernel_for<Row>(s);
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "mamba3_recurrent");
  const dim3 grid(static_cast<unsigned>(s.heads), static_cast<unsigned>(sequences.count));
  const int threads = std::max(kLeastThreads, s.wide_p / kHigh * kLanes);
  kernel<<<grid, threads, bytes, stream>>>(s, layout, weights, rows, sequences);
  check_launch("mamba3_recurrent");
}

template void mamba3_recurrent(const Mamba3Config&, const Mamba3Layout&, const Mamba3Parameters&,
                               const RecurrentRows<float>&, const RecurrentSequences&, cudaStream_t);
template void mamba3_recurrent(const Mamba3Config&, const Mamba3Layout&, const Mamba3Parameters&,
                               const RecurrentRows<__nv_bfloat16>&, const RecurrentSequences&, cudaStream_t);

}  // namespace mamba3::cuda
