// The step of one token: a block of threads takes one head of one session from the products' rows to the gated
// output. h lies in registers, 16 bytes by 16 bytes on its way from memory before anything else is done; norms,
// angles and rotation pass in its shadow. The slots and everything that several warps read lie in shared memory.
#include <cstddef>

#include "core/cuda/runtime.h"
#include "mixers/mamba3/slots.cuh"
#include "mixers/mamba3/step_cuda.h"

namespace mamba3::cuda {
namespace {

template <typename T>
struct StepArgs {
  Mamba3Layout l;
  Mamba3StepWeights w;
  Mamba3Sessions sessions;
  std::int64_t offset;
  const T* projected;
  const float* dynamics;
  T* out;
  int groups;
  int fold_every;
  bool is_mimo, softplus_A;
  float A_floor;
};

/// Small shapes have no more elements than the published ones, N 128 and P 64: they need fewer registers, so
/// that five blocks (160 KB of h on the way) share a multiprocessor.
struct Small {
  static constexpr int kThreads = 128, kBlocks = 4, kPairs = 2;
};
struct Large {
  static constexpr int kThreads = 512, kBlocks = 1, kPairs = 4;
};

/// Ranks beyond 4 leave the old slots in memory, to stay within 99 KB.
template <int kRanks>
inline constexpr bool kStaged = kRanks <= 4;

/// A block's shared memory. Rows of ranks that do not exist (kRanks > R) hold zeros.
struct StepShared {
  float* tokens;                  // the slots, or the new token alone
  float* q;                       // [kRanks, N']
  float* partial;                 // [groups of rows, kRanks, P'], later [kRanks, P']
  float* score;                   // [slots, R, kRanks]
  float* weight;                  // [slots]
  float* decay;                   // [1]
  float* theta;                   // [S]
  float* z;                       // [P']
  float *mimo_x, *mimo_z, *mimo_o;  // [R, P']
  float* end;

  __host__ __device__ StepShared(const Mamba3Layout& l, int ranks, bool staged, bool is_mimo, float* base) {
    const int slots = 1 + static_cast<int>(l.chunk), wide_p = static_cast<int>(l.wide_p);
    const int rows = static_cast<int>(l.wide_n) / Tile::kRows, rank = static_cast<int>(l.rank);
    const auto next = [&base](int count) {
      float* taken = base;
      base += (count + 3) / 4 * 4;
      return taken;
    };
    tokens = next((staged ? slots : 1) * static_cast<int>(l.token));
    q = next(ranks * static_cast<int>(l.wide_n));
    partial = next(rows * ranks * wide_p);
    score = next(slots * rank * ranks);
    weight = next(slots), decay = next(1);
    theta = next(static_cast<int>(l.angles));
    z = next(wide_p);
    mimo_x = is_mimo ? next(rank * wide_p) : nullptr;
    mimo_z = is_mimo ? next(rank * wide_p) : nullptr;
    mimo_o = is_mimo ? next(rank * wide_p) : nullptr;
    end = base;
  }
};

__device__ float warp_sum(float v) {
#pragma unroll
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) v += __shfl_xor_sync(kAllLanes, v, lanes);
  return v;
}

/// The sums over a warp of kCount values of each lane; lane i gets that of value i / (32 / kCount). Halves are
/// exchanged, so it costs 5 + kCount - 1 - log2(kCount) shuffles and not 5 kCount.
template <int kCount>
__device__ float warp_sums(float (&v)[kCount]) {
  const int lane = static_cast<int>(threadIdx.x) % kLanes;
  int distance = kLanes / 2;
#pragma unroll
  for (int half = kCount / 2; half > 0; half /= 2, distance /= 2) {
    const bool upper = (lane & distance) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float kept = upper ? v[i + half] : v[i], given = upper ? v[i] : v[i + half];
      v[i] = kept + __shfl_xor_sync(kAllLanes, given, distance);
    }
  }
  for (; distance > 0; distance /= 2) v[0] += __shfl_xor_sync(kAllLanes, v[0], distance);
  return v[0];
}

__device__ float sigmoid(float v) {
  return 1 / (1 + expf(-v));
}
__device__ float softplus(float v) {
  return v > 20 ? v : log1pf(expf(v));
}

/// Waits for the kernel in front, and lets the next one begin to load what does not depend on this one.
__device__ void wait_for_products() {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

__device__ void prefetch(const float* v, int count) {
  constexpr int kLine = 128 / sizeof(float);
  for (int i = kLine * static_cast<int>(threadIdx.x); i < count; i += kLine * static_cast<int>(blockDim.x)) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(v + i));
  }
}

/// One head of one session.
template <typename T, int kRanks, typename Size>
struct HeadStep {
  const StepArgs<T>& a;
  const Mamba3Layout& l;
  const int head, session;
  const int warp = static_cast<int>(threadIdx.x) / kLanes, lane = static_cast<int>(threadIdx.x) % kLanes;
  const int warps = static_cast<int>(blockDim.x) / kLanes;
  const int N = static_cast<int>(l.d_state), P = static_cast<int>(l.headdim), R = static_cast<int>(l.rank);
  const int wide_n = static_cast<int>(l.wide_n), wide_p = static_cast<int>(l.wide_p);
  const int token = static_cast<int>(l.token), k_size = R * wide_n;
  const int tail = a.sessions.tails[session], last = tail + 1;
  const bool folds = ((a.sessions.positions[session] + 1) & (a.fold_every - 1)) == 0;
  float* const values = a.sessions.states[session] + a.offset;
  const HeadState state{l, values, head};
  const StepShared& shared;

  /// k [R, N'] and x [P'] of a slot.
  __device__ float* token_at(int slot) const {
    if (kStaged<kRanks>) return shared.tokens + slot * token;
    return slot == last ? shared.tokens : state.tokens + slot * token;
  }

  /// What needs no product: the old slots and parameters.
  __device__ void begin() const {
    if (kStaged<kRanks>) stage(shared.tokens, state.tokens, last * token);
    if (a.w.mimo_x != nullptr) {
      const std::int64_t at = static_cast<std::int64_t>(head) * R * P;
      stage_rows(shared.mimo_x, a.w.mimo_x + at, R, P, wide_p);
      stage_rows(shared.mimo_z, a.w.mimo_z + at, R, P, wide_p);
      stage_rows(shared.mimo_o, a.w.mimo_o + at, R, P, wide_p);
    }
    __pipeline_commit();
    prefetch(a.w.B_bias + head * R * N, R * N);
    prefetch(a.w.C_bias + head * R * N, R * N);
  }

  /// Steps 1, 2.
  __device__ Dynamics dynamics() const {
    const int H = static_cast<int>(l.heads);
    const float* row = a.dynamics + session * (3 * l.heads + l.angles) + head;
    const float dd_A = row[H], lambda = sigmoid(row[2 * H]);
    const float activated = a.softplus_A ? softplus(dd_A) : dd_A >= 0 ? 1 + dd_A : 1 / (1 - dd_A);
    const float dt = softplus(row[0] + a.w.dt_bias[head]);
    return {expf(-fmaxf(activated, a.A_floor) * dt), lambda * dt, (1 - lambda) * dt, dt};
  }

  /// Step 4 for pair s, whose cosine and sine it gives; pairs beyond S do not turn.
  __device__ float2 turn(int s, int rank, float dt) const {
    const int S = static_cast<int>(l.angles), H = static_cast<int>(l.heads);
    if (s >= S) return {1, 0};
    const float angle = a.dynamics[session * (3 * l.heads + l.angles) + 3 * H + s];
    const float rate = tanhf(angle) * std::numbers::pi_v<float>;
    const float theta = turned(state.theta[s], rate, dt);
    if (rank == 0) shared.theta[s] = theta;
    if (rank == 0 && head == 0) values[l.rate + tail * l.wide_s + s] = rate;
    float2 turned_by;
    sincospif(theta * std::numbers::inv_pi_v<float>, &turned_by.y, &turned_by.x);
    return turned_by;
  }

  /// Steps 3 to 5 for one rank, by one warp: q and k.
  __device__ void rotate_rank(int r, float dt) const {
    const int half = N / 2;
    const auto first = [&](int pair) { return a.is_mimo ? pair : 2 * pair; };
    const auto second = [&](int pair) { return a.is_mimo ? pair + half : 2 * pair + 1; };
    const int bc_width = R * a.groups * N, group = head / (static_cast<int>(l.heads) / a.groups);
    const T* B = a.projected + session * (2 * l.heads * P + 2 * bc_width) + 2 * l.heads * P +
                 (r * a.groups + group) * N;
    const T* C = B + bc_width;
    const float *B_bias = a.w.B_bias + (head * R + r) * N, *C_bias = a.w.C_bias + (head * R + r) * N;
    float2 b[Size::kPairs], c[Size::kPairs], cosine_sine[Size::kPairs];
    float b_squares = 0, c_squares = 0;
#pragma unroll
    for (int i = 0; i < Size::kPairs; ++i) {
      const int pair = lane + i * kLanes;
      if (pair >= half) continue;
      b[i] = {static_cast<float>(B[first(pair)]), static_cast<float>(B[second(pair)])};
      c[i] = {static_cast<float>(C[first(pair)]), static_cast<float>(C[second(pair)])};
      b_squares += b[i].x * b[i].x + b[i].y * b[i].y;
      c_squares += c[i].x * c[i].x + c[i].y * c[i].y;
      cosine_sine[i] = turn(pair, r, dt);
    }
    const float b_scale = rsqrtf(warp_sum(b_squares) / N + static_cast<float>(kNormEpsilon));
    const float c_scale = rsqrtf(warp_sum(c_squares) / N + static_cast<float>(kNormEpsilon));
    float *k = token_at(last) + r * wide_n, *q = shared.q + r * wide_n;
#pragma unroll
    for (int i = 0; i < Size::kPairs; ++i) {
      const int pair = lane + i * kLanes;
      if (pair >= half) continue;
      const int x = first(pair), y = second(pair);
      const auto rotate = [&](float2 v, float scale, const float* gain, const float* bias, float* to) {
        v = {fmaf(v.x * scale, gain[x], bias[x]), fmaf(v.y * scale, gain[y], bias[y])};
        to[x] = v.x * cosine_sine[i].x - v.y * cosine_sine[i].y;
        to[y] = v.x * cosine_sine[i].y + v.y * cosine_sine[i].x;
      };
      rotate(b[i], b_scale, a.w.B_norm, B_bias, k);
      rotate(c[i], c_scale, a.w.C_norm, C_bias, q);
    }
    for (int n = N + lane; n < wide_n; n += kLanes) k[n] = q[n] = 0;
  }

  /// The new token into its slot, q, z and the slots' weights.
  __device__ void prepare() const {
    const T* z = a.projected + session * (2 * l.heads * P + 2 * R * a.groups * N) + head * P;
    const T* x = z + l.heads * P;
    for (int p = static_cast<int>(threadIdx.x); p < wide_p; p += static_cast<int>(blockDim.x)) {
      token_at(last)[k_size + p] = p < P ? static_cast<float>(x[p]) : 0.0f;
      shared.z[p] = p < P ? static_cast<float>(z[p]) : 0.0f;
    }
    if (warp < R || warp == warps - 1) {
      const Dynamics now = dynamics();
      for (int r = warp; r < R; r += warps) rotate_rank(r, now.dt);
      if (warp == warps - 1) {
        const float decay = weigh_slots(state, tail, now, shared.weight);
        if (lane == 0) {
          *shared.decay = decay;
          state.alpha[tail] = now.alpha, state.own[tail] = now.own;
          state.before[tail] = now.before, state.dt[tail] = now.dt;
        }
      }
    }
    for (int r = R + warp; r < kRanks; r += warps) {
      for (int n = lane; n < wide_n; n += kLanes) shared.q[r * wide_n + n] = 0;
    }
  }

  /// score[slot, i, r] = weight q[r] k[slot, i], a warp for each key.
  __device__ void score() const {
    for (int key = warp; key < (last + 1) * R; key += warps) {
      const int slot = key / R;
      const float* k = token_at(slot) + (key - slot * R) * wide_n;
      float sums[kRanks] = {};
      for (int n = 4 * lane; n < wide_n; n += 4 * kLanes) {
        const float4 right = load4(k + n);
#pragma unroll
        for (int r = 0; r < kRanks; ++r) {
          const float4 left = load4(shared.q + r * wide_n + n);
          sums[r] = fmaf(left.x, right.x, fmaf(left.y, right.y, fmaf(left.z, right.z, fmaf(left.w, right.w, sums[r]))));
        }
      }
      const float sum = warp_sums(sums);
      constexpr int kLanesOfRank = kLanes / kRanks;
      if (lane % kLanesOfRank == 0) {
        shared.score[key * kRanks + lane / kLanesOfRank] = shared.weight[slot] * sum;
      }
    }
  }

  /// y of the tile's rows, [kRanks] of four columns: sum_n q[r, n] h[n, p].
  __device__ void read_out(const Tile& tile, float4 (&y)[kRanks]) const {
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      y[r] = {0, 0, 0, 0};
      tile.each_four(shared.q + r * wide_n, [&](int i, float q) { add_scaled(y[r], q, tile.rows[i]); });
    }
  }

  /// The checkpoint's decay, and the slots that fall to this group of rows: sum of score v.
  __device__ void add_slots(const Tile& tile, float4 (&y)[kRanks]) const {
    const float decay = *shared.decay;
#pragma unroll
    for (int r = 0; r < kRanks; ++r) y[r] = decay * y[r];
    for (int slot = tile.group(); slot <= last; slot += (N + Tile::kRows - 1) / Tile::kRows) {
      const float4 x = load4(token_at(slot) + k_size + tile.column);
      const float* score = shared.score + slot * R * kRanks;
      for (int i = 0; i < R; ++i) {
        const float4 v = a.w.mimo_x == nullptr ? x : x * load4(shared.mimo_x + i * wide_p + tile.column);
#pragma unroll
        for (int r = 0; r < kRanks; ++r) add_scaled(y[r], score[i * kRanks + r], v);
      }
    }
  }

  /// Steps 8 and 9 for one rank, by one warp: the groups' sums, D term, norm and gate, in place of the first
  /// group's sum.
  __device__ void gate_rank(int r) const {
    const int groups = (N + Tile::kRows - 1) / Tile::kRows;
    const float D = a.w.D[head];
    float* y = shared.partial + r * wide_p;
    float squares = 0;
    for (int p = lane; p < P; p += kLanes) {
      const float x = token_at(last)[k_size + p];
      float sum = D * (a.w.mimo_x == nullptr ? x : x * shared.mimo_x[r * wide_p + p]);
      for (int g = 0; g < groups; ++g) sum += y[g * kRanks * wide_p + p];
      squares = fmaf(sum, sum, squares);
      y[p] = sum;
    }
    float scale = 1;
    if (a.w.norm != nullptr) scale = rsqrtf(warp_sum(squares) / P + static_cast<float>(kNormEpsilon));
    for (int p = lane; p < P; p += kLanes) {
      const float gain = a.w.norm == nullptr ? 1.0f : a.w.norm[head * P + p];
      float z = shared.z[p], o = 1;
      if (a.w.mimo_z != nullptr) z *= shared.mimo_z[r * wide_p + p], o = shared.mimo_o[r * wide_p + p];
      y[p] = y[p] * scale * gain * (z * sigmoid(z)) * o;
    }
  }

  /// The sum over ranks, and the token and its angles into the state.
  __device__ void end() const {
    T* out = a.out + (session * l.heads + head) * P;
    for (int p = static_cast<int>(threadIdx.x); p < P; p += static_cast<int>(blockDim.x)) {
      float sum = 0;
      for (int r = 0; r < R; ++r) sum += shared.partial[r * wide_p + p];
      out[p] = static_cast<T>(sum);
    }
    float* slot = state.tokens + (folds ? 0 : last) * token;
    for (int i = 4 * static_cast<int>(threadIdx.x); i < token; i += 4 * static_cast<int>(blockDim.x)) {
      store4(slot + i, load4(token_at(last) + i));
    }
    for (int s = static_cast<int>(threadIdx.x); s < static_cast<int>(l.angles); s += static_cast<int>(blockDim.x)) {
      state.theta[s] = shared.theta[s];
      if (folds) state.start[s] = shared.theta[s];
    }
  }
};

template <typename T, int kRanks, typename Size>
__global__ void __launch_bounds__(Size::kThreads, Size::kBlocks)
    step_kernel(const __grid_constant__ StepArgs<T> a) {
  extern __shared__ __align__(16) float memory[];
  const StepShared shared(a.l, kRanks, kStaged<kRanks>, a.w.mimo_x != nullptr, memory);
  const HeadStep<T, kRanks, Size> step{
      .a = a, .l = a.l, .head = static_cast<int>(blockIdx.x), .session = static_cast<int>(blockIdx.y), .shared = shared};
  Tile tile(a.l);
  if (!tile.empty(a.l)) tile.load(a.l, step.state.h);
  step.begin();
  wait_for_products();
  step.prepare();
  __pipeline_wait_prior(0);
  __syncthreads();

  step.score();
  float4 y[kRanks];
  if (!tile.empty(a.l)) step.read_out(tile, y);
  __syncthreads();

  if (!tile.empty(a.l)) {
    step.add_slots(tile, y);
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      store4(shared.partial + (tile.group() * kRanks + r) * step.wide_p + tile.column, y[r]);
    }
    if (step.folds) {
      tile.fold(a.l, *shared.decay, step.last + 1, shared.weight, shared.mimo_x,
                [&](int slot) { return step.token_at(slot); });
      tile.store(a.l, step.state.h);
    }
  }
  __syncthreads();

  for (int r = step.warp; r < step.R; r += step.warps) step.gate_rank(r);
  __syncthreads();
  step.end();
}

template <typename T, int kRanks, typename Size>
void launch(const StepArgs<T>& args, bool overlap, cudaStream_t stream) {
  const StepShared shared(args.l, kRanks, kStaged<kRanks>, args.w.mimo_x != nullptr, nullptr);
  const auto bytes = static_cast<std::size_t>(shared.end - static_cast<float*>(nullptr)) * sizeof(float);
  const auto kernel = step_kernel<T, kRanks, Size>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "asking for a step's shared memory");
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(args.l.heads), static_cast<unsigned>(args.sessions.batch));
  config.blockDim = dim3(static_cast<unsigned>(tile_threads(args.l)));
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = overlap ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, args), "step_heads");
}

template <typename T, int kRanks>
void launch_ranks(const StepArgs<T>& args, bool overlap, cudaStream_t stream) {
  if constexpr (kStaged<kRanks>) {
    const bool small = args.l.d_state <= 2 * Small::kPairs * kLanes && tile_threads(args.l) <= Small::kThreads;
    if (small) return launch<T, kRanks, Small>(args, overlap, stream);
  }
  launch<T, kRanks, Large>(args, overlap, stream);
}

}  // namespace

bool takes_shape(const Mamba3Layout& l) {
  return l.rank <= 8 && l.d_state <= 256 && l.headdim <= 128 && l.chunk <= kLanes;
}

template <typename T>
void step_heads(const Mamba3Config& config, const Mamba3Layout& layout, const Mamba3StepWeights& weights,
                const Mamba3Sessions& sessions, std::int64_t offset, const T* projected, const float* dynamics,
                T* out, bool overlap, cudaStream_t stream) {
  const StepArgs<T> args{.l = layout,
                         .w = weights,
                         .sessions = sessions,
                         .offset = offset,
                         .projected = projected,
                         .dynamics = dynamics,
                         .out = out,
                         .groups = static_cast<int>(config.ngroups),
                         .fold_every = static_cast<int>(layout.fold_every()),
                         .is_mimo = config.is_mimo,
                         .softplus_A = config.A_activation == AActivation::softplus,
                         .A_floor = static_cast<float>(config.A_floor)};
  if (layout.rank == 1) return launch_ranks<T, 1>(args, overlap, stream);
  if (layout.rank <= 4) return launch_ranks<T, 4>(args, overlap, stream);
  launch_ranks<T, 8>(args, overlap, stream);
}

template void step_heads(const Mamba3Config&, const Mamba3Layout&, const Mamba3StepWeights&, const Mamba3Sessions&,
                         std::int64_t, const float*, const float*, float*, bool, cudaStream_t);
template void step_heads(const Mamba3Config&, const Mamba3Layout&, const Mamba3StepWeights&, const Mamba3Sessions&,
                         std::int64_t, const __nv_bfloat16*, const float*, __nv_bfloat16*, bool, cudaStream_t);

}  // namespace mamba3::cuda
