// What a tail is good for besides the step: it goes into the checkpoint, or its angles are turned back.
#include <cstddef>

#include "core/cuda/runtime.h"
#include "mixers/mamba3/slots.cuh"
#include "mixers/mamba3/step_cuda.h"

namespace mamba3::cuda {
namespace {

using Head = AnyHead<1>;

/// A block for each head of each session. The slots lie in memory: this runs once for many steps.
__global__ void __launch_bounds__(Head::kThreads)
    fold_kernel(const __grid_constant__ Mamba3Layout l, const float* mimo_x,
                const __grid_constant__ Mamba3Sessions sessions, std::int64_t offset) {
  extern __shared__ __align__(16) float mine[];  // mimo_x [R, P']
  __shared__ float weight[1 + kLanes], decay;
  const int session = static_cast<int>(blockIdx.y), head = static_cast<int>(blockIdx.x);
  const int tail = sessions.tails[session];
  if (tail == 0) return;
  const Head s(l);
  const HeadState state(l, sessions.states[session] + offset, head);
  Tile<Head> tile(s);
  if (!tile.empty()) tile.load(state.h);
  if (mimo_x != nullptr) stage_rows(mine, mimo_x + head * s.R * s.P, s.R, s.P, s.wide_p);
  if (threadIdx.x < kLanes) {
    const int before = tail - 1;
    const Dynamics last{state.alpha[before], state.own[before], state.before[before], state.dt[before]};
    const float kept = SlotDynamics(state, before).weigh(before, last, weight);
    if (threadIdx.x == 0) decay = kept;
  }
  __pipeline_commit();
  __pipeline_wait_prior(0);
  __syncthreads();

  if (!tile.empty()) {
    tile.fold(decay, tail + 1, weight, mimo_x == nullptr ? nullptr : mine,
              [&](int slot) { return state.tokens + slot * s.token; });
    tile.store(state.h);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < s.token; i += static_cast<int>(blockDim.x)) {
    state.tokens[i] = state.tokens[tail * s.token + i];
  }
  for (int i = static_cast<int>(threadIdx.x); i < l.angles; i += static_cast<int>(blockDim.x)) {
    state.start[i] = state.theta[i];
  }
}

/// A thread for each angle of each head of a session.
__global__ void turn_back_kernel(const __grid_constant__ Mamba3Layout l,
                                 const __grid_constant__ Mamba3Sessions sessions, std::int64_t offset) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= l.heads * l.angles) return;
  const int session = static_cast<int>(blockIdx.y), tail = sessions.tails[session];
  float* values = sessions.states[session] + offset;
  const std::int64_t head = i / l.angles, s = i % l.angles;
  const HeadState state(l, values, head);
  float theta = state.start[s];
  for (int t = 0; t < tail; ++t) theta = turned(theta, values[l.rate + t * l.wide_s + s], state.dt[t]);
  state.theta[s] = theta;
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
  const dim3 grid(static_cast<unsigned>(layout.heads), static_cast<unsigned>(sessions.batch));
  const auto bytes =
      static_cast<std::size_t>(mimo_x == nullptr ? 0 : layout.rank * layout.wide_p) * sizeof(float);
  fold_kernel<<<grid, block_threads(Head(layout)), bytes, stream>>>(layout, mimo_x, sessions, offset);
  check_launch("fold_tails");
}

void turn_back(const Mamba3Layout& layout, const Mamba3Sessions& sessions, std::int64_t offset,
               cudaStream_t stream) {
  if (layout.angles == 0) return;
  const dim3 grid(blocks_for(layout.heads * layout.angles), static_cast<unsigned>(sessions.batch));
  turn_back_kernel<<<grid, kThreads, 0, stream>>>(layout, sessions, offset);
  check_launch("turn_back");
}

}  // namespace mamba3::cuda
