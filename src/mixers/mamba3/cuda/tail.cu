// What a tail is good for besides the step: it goes into the checkpoint, or its angles are turned back.
#include <cstddef>

#include "core/cuda/runtime.h"
#include "mixers/mamba3/cuda/slots.cuh"
#include "mixers/mamba3/cuda/step_cuda.h"

namespace mamba3::cuda {
namespace {

using namespace step;

using Head = AnyHead<1>;

/// A block for each head of each session. The slots lie in memory: this runs once for many steps.
__global__ void __launch_bounds__(Head::kThreads)
    fold_kernel(const __grid_constant__ StateShape shape, const float* mimo_x,
                const __grid_constant__ Mamba3Sessions sessions, std::int64_t offset) {
  extern __shared__ __align__(16) float mine[];  // mimo_x [R, P']
  __shared__ float weight[1 + kLanes], decay;
  const int session = static_cast<int>(blockIdx.y), head = static_cast<int>(blockIdx.x);
  const int tail = sessions.tails[session];
  if (tail == 0) return;
  const Head s(shape, mimo_x != nullptr);
  const HeadState state{shape, sessions.states[session] + offset, head};
  Tile<Head> tile(s, nullptr);
  if (!tile.empty()) tile.begin_load(state.h(), true);
  if (s.is_mimo) stage_rows(mine, mimo_x + head * s.R * s.P, s.R, s.P, s.wide_p, s.threads());
  if (threadIdx.x < kLanes) {
    const int at = tail - 1;
    const Dynamics last{state.alpha()[at], state.own()[at], state.before()[at], state.dt()[at]};
    const float kept = SlotDynamics(state, at).weigh(at, last, weight);
    if (threadIdx.x == 0) weight[tail] = last.own, decay = kept;
  }
  __pipeline_commit();
  __pipeline_wait_prior(0);
  __syncthreads();

  if (!tile.empty()) {
    Tile<Head>::Rows rows;
    tile.decayed(decay, rows);
    tile.add_tokens(state.token(0), 0, tail + 1, weight, mine, rows);
    tile.store(rows, state.h());
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < s.token; i += s.threads()) {
    state.token(0)[i] = state.token(tail)[i];
  }
  for (int i = static_cast<int>(threadIdx.x); i < shape.angles; i += s.threads()) {
    state.start()[i] = state.theta()[i];
  }
}

/// A thread for each angle of each head of a session.
__global__ void turn_back_kernel(const __grid_constant__ StateShape shape,
                                 const __grid_constant__ Mamba3Sessions sessions, std::int64_t offset) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= shape.heads * shape.angles) return;
  const int session = static_cast<int>(blockIdx.y), tail = sessions.tails[session];
  const int head = i / shape.angles, s = i % shape.angles;
  const HeadState state{shape, sessions.states[session] + offset, head};
  const float* rate = state.values + shape.rate + s;
  float theta = state.start()[s];
  for (int t = 0; t < tail; ++t) theta = turned(theta, rate[t * shape.wide_s], state.dt()[t]);
  state.theta()[s] = theta;
}

__global__ void advance_kernel(std::int64_t* positions, std::int32_t* tails, std::int64_t batch,
                               std::int64_t fold_every) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= batch) return;
  const std::int64_t next = positions[i] + 1;
  positions[i] = next;
  tails[i] = next % fold_every == 0 ? 0 : tails[i] + 1;
}

constexpr int kThreads = 128;  // of the small kernels

unsigned blocks_for(std::int64_t items) {
  return static_cast<unsigned>((items + kThreads - 1) / kThreads);
}

}  // namespace

void advance(std::int64_t* positions, std::int32_t* tails, std::int64_t batch, std::int64_t fold_every,
             cudaStream_t stream) {
  advance_kernel<<<blocks_for(batch), kThreads, 0, stream>>>(positions, tails, batch, fold_every);
  check_launch("advance");
}

void fold_tails(const Mamba3Layout& layout, const float* mimo_x, const Mamba3Sessions& sessions,
                std::int64_t offset, cudaStream_t stream) {
  const StateShape shape(layout);
  const dim3 grid(static_cast<unsigned>(shape.heads), static_cast<unsigned>(sessions.batch));
  const bool is_mimo = mimo_x != nullptr;
  const auto bytes = is_mimo ? static_cast<std::size_t>(shape.rank * shape.wide_p) * sizeof(float) : 0;
  const int threads = block_threads(Head(shape, is_mimo));
  fold_kernel<<<grid, threads, bytes, stream>>>(shape, mimo_x, sessions, offset);
  check_launch("fold_tails");
}

void turn_back(const Mamba3Layout& layout, const Mamba3Sessions& sessions, std::int64_t offset,
               cudaStream_t stream) {
  const StateShape shape(layout);
  if (shape.angles == 0) return;
  const dim3 grid(blocks_for(shape.heads * shape.angles), static_cast<unsigned>(sessions.batch));
  turn_back_kernel<<<grid, kThreads, 0, stream>>>(shape, sessions, offset);
  check_launch("turn_back");
}

}  // namespace mamba3::cuda
