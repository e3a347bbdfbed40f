// The step of one token: a block of threads takes one head of one session from the products' rows to the
// gated output. h is on its way from memory before anything else is done; norms, angles and rotation pass in
// its shadow.
//
// What else there is to do is small, and so its latency counts, not its amount: loads stand before their
// first use, and every phase is spread over all warps.
#include <cstddef>

#include "core/cuda/dependent.cuh"
#include "core/cuda/runtime.h"
#include "mixers/mamba3/cuda/step_cuda.h"
#include "mixers/mamba3/cuda/step_head.cuh"

namespace mamba3::cuda {
namespace {

using namespace step;

/// Waits for the kernel in front, and lets the next one begin with what does not depend on this one.
__device__ inline void wait_for_products() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

template <typename T, typename Head>
__global__ void __launch_bounds__(Head::kThreads, Head::kBlocks)
    step_kernel(const __grid_constant__ StepArgs<T> a) {
  extern __shared__ __align__(16) float memory[];
  const HeadStep<T, Head> step{a, memory};
  Tile<Head> tile(step.s, memory);
  const SlotDynamics slots(step.state, step.tail);
  const float theta = step.load_theta(step.index);
  step.begin(tile);
  wait_for_products();
  step.prepare(slots, theta);
  if (!Head::kPublished && !tile.empty()) tile.begin_load(step.state.h(), step.folds);
  __pipeline_wait_prior(1);
  __syncthreads();

  step.each_part([&](const float* tokens, int begin, int end) { step.score(tokens, begin, end); });
  __pipeline_wait_prior(0);
  float4 y[Head::kRanks];
  if (!tile.empty()) step.read_out(tile, y);
  __syncthreads();

  if (!tile.empty()) {
    step.each_part(
        [&](const float* tokens, int begin, int end) { step.add_tokens(tile, tokens, begin, end, y); });
    step.store_partial(tile, y);
  }
  __syncthreads();

  if (a.w.norm == nullptr) {
    step.store_out(row_groups(step.s));
  } else {
    for (int r = step.warp; r < step.s.R; r += step.warps) step.gate_rank(r);
    __syncthreads();
    step.store_out(step.s.R);
  }
  if (step.folds && !tile.empty()) step.fold(tile);
  if (!Head::kPublished) __syncthreads();  // the token may take the place of slot 0
  step.store_token();
}

template <typename Head, typename T>
void launch(StepArgs<T> args, bool overlap, cudaStream_t stream) {
  const Head head(args.shape, args.is_mimo);
  args.shared = StepShared(head, args.shape, args.fold_every, args.w.norm != nullptr);
  const int bytes = args.shared.size * static_cast<int>(sizeof(float));
  const auto kernel = step_kernel<T, Head>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
        "asking for a step's shared memory");
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(args.shape.heads / args.groups),
                        static_cast<unsigned>(args.groups), static_cast<unsigned>(args.sessions.batch));
  config.blockDim = dim3(static_cast<unsigned>(block_threads(head)));
  config.dynamicSmemBytes = static_cast<std::size_t>(bytes);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = overlap && launches_dependents() ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, args), "step_heads");
}

}  // namespace

bool takes_shape(const Mamba3Layout& l) {
  return l.rank <= 8 && l.d_state <= 256 && l.headdim <= 128 && l.chunk <= kLanes;
}

template <typename T>
void step_heads(const Mamba3Config& config, const Mamba3Layout& layout, const Mamba3Parameters& weights,
                const Mamba3Sessions& sessions, std::int64_t offset, const T* projected,
                const float* dynamics, T* out, bool overlap, cudaStream_t stream) {
  const StepArgs<T> args{.shape = StateShape(layout),
                         .shared = {},
                         .w = weights,
                         .sessions = sessions,
                         .offset = offset,
                         .projected = projected,
                         .dynamics = dynamics,
                         .out = out,
                         .row = static_cast<int>(config.in_rows()),
                         .dynamics_row = static_cast<int>(config.dynamics_rows()),
                         .groups = static_cast<int>(config.ngroups),
                         .fold_every = static_cast<int>(layout.fold_every()),
                         .A_floor = static_cast<float>(config.A_floor),
                         .is_mimo = config.is_mimo,
                         .softplus_A = config.A_activation == AActivation::softplus};
  if (PublishedHead<1>::takes(layout, config.is_mimo)) return launch<PublishedHead<1>>(args, overlap, stream);
  if (PublishedHead<4>::takes(layout, config.is_mimo)) return launch<PublishedHead<4>>(args, overlap, stream);
  if (layout.rank == 1) return launch<AnyHead<1>>(args, overlap, stream);
  if (layout.rank <= 4) return launch<AnyHead<4>>(args, overlap, stream);
  launch<AnyHead<8>>(args, overlap, stream);
}

template void step_heads(const Mamba3Config&, const Mamba3Layout&, const Mamba3Parameters&,
                         const Mamba3Sessions&, std::int64_t, const float*, const float*, float*, bool,
                         cudaStream_t);
template void step_heads(const Mamba3Config&, const Mamba3Layout&, const Mamba3Parameters&,
                         const Mamba3Sessions&, std::int64_t, const __nv_bfloat16*, const float*,
                         __nv_bfloat16*, bool, cudaStream_t);

}  // namespace mamba3::cuda
