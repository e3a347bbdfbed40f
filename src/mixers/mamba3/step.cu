// The step of one token: a block of threads takes one head of one session from the products' rows to the
// gated output. h lies in registers, all of it on its way from memory before anything else is done; norms,
// angles and rotation pass in its shadow. The slots, and everything that several warps read, lie in shared
// memory.
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

/// A block's shared memory.
struct StepShared {
  float* tokens;                    // the slots, or the new token alone
  float* q;                         // [kRanks, N'], those of ranks that do not exist are zeros
  float* partial;                   // [groups of rows, kRanks, P']; then the first holds what is gated
  float* score;                     // [slots, R, kRanks]
  float* weight;                    // [slots]
  float* decay;                     // [1]
  float* theta;                     // [S]
  float* z;                         // [P']
  float *mimo_x, *mimo_z, *mimo_o;  // [R, P'], null for SISO
  float* norm;                      // [P'], null without is_outproj_norm
  float* end;

  template <typename Head>
  __host__ __device__ StepShared(const Head& s, const Mamba3Layout& l, bool is_mimo, bool is_normed,
                                 float* base) {
    const int slots = 1 + static_cast<int>(l.chunk);
    const auto next = [&base](int count) {
      float* taken = base;
      base += (count + 3) / 4 * 4;
      return taken;
    };
    tokens = next((Head::kStaged ? slots : 1) * s.token);
    q = next(Head::kRanks * s.wide_n);
    partial = next(row_groups(s) * Head::kRanks * s.wide_p);
    z = next(s.wide_p);
    mimo_x = is_mimo ? next(s.R * s.wide_p) : nullptr;
    mimo_z = is_mimo ? next(s.R * s.wide_p) : nullptr;
    mimo_o = is_mimo ? next(s.R * s.wide_p) : nullptr;
    norm = is_normed ? next(s.wide_p) : nullptr;
    score = next(slots * s.R * Head::kRanks);
    weight = next(slots), decay = next(1);
    theta = next(static_cast<int>(l.angles));
    end = base;
  }
};

__device__ float warp_sum(float v) {
#pragma unroll
  for (int lanes = kLanes / 2; lanes > 0; lanes /= 2) v += __shfl_xor_sync(kAllLanes, v, lanes);
  return v;
}

/// The sums over a warp of kCount values of each lane; lane i gets that of value i / (32 / kCount). Halves
/// are exchanged, so that 4 values cost 6 shuffles and not 20.
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
#pragma unroll
  for (; distance > 0; distance /= 2) v[0] += __shfl_xor_sync(kAllLanes, v[0], distance);
  return v[0];
}

__device__ float sigmoid(float v) {
  return __fdividef(1.0f, 1.0f + expf(-v));
}
__device__ float softplus(float v) {
  return v > 20 ? v : log1pf(expf(v));
}
__device__ float inverse_rms(float squares, int count) {
  return rsqrtf(squares * (1.0f / static_cast<float>(count)) + static_cast<float>(kNormEpsilon));
}

/// Waits for the kernel in front, and lets the next one begin with what does not depend on this one.
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
template <typename T, typename Head>
struct HeadStep {
  static constexpr int kRanks = Head::kRanks, kPairs = Head::kPairs;
  const StepArgs<T>& a;
  const Head s{a.l};
  const int head = static_cast<int>(blockIdx.x), session = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int warp = thread / kLanes, lane = thread % kLanes, warps = threads / kLanes;
  const int tail = a.sessions.tails[session], last = tail + 1;
  const bool folds = ((a.sessions.positions[session] + 1) & (a.fold_every - 1)) == 0;
  float* const values = a.sessions.states[session] + a.offset;
  const HeadState state{a.l, values, head};
  const StepShared shared;

  __device__ HeadStep(const StepArgs<T>& args, float* memory)
      : a(args), shared(s, a.l, a.w.mimo_x != nullptr, a.w.norm != nullptr, memory) {}

  /// k [R, N'] and x [P'] of a slot.
  __device__ float* token_at(int slot) const {
    if (Head::kStaged) return shared.tokens + slot * s.token;
    return slot == last ? shared.tokens : state.tokens + slot * s.token;
  }

  /// A lane's pairs of elements that turn together: (2i, 2i + 1) for SISO, (i, i + N/2) for MIMO.
  __device__ int pair(int i) const { return lane + i * kLanes; }
  __device__ bool has_pair(int i) const { return pair(i) < s.N / 2; }
  __device__ int first(int i) const { return a.is_mimo ? pair(i) : 2 * pair(i); }
  __device__ int second(int i) const { return a.is_mimo ? pair(i) + s.N / 2 : 2 * pair(i) + 1; }
  template <typename From>
  __device__ float2 pair_of(const From* v, int i) const {
    return {static_cast<float>(v[first(i)]), static_cast<float>(v[second(i)])};
  }

  /// What needs no product, on its way to shared memory: the old slots and parameters.
  __device__ void stage_inputs() const {
    if (Head::kStaged) stage(shared.tokens, state.tokens, last * s.token);
    if (a.w.mimo_x != nullptr) {
      const int at = head * s.R * s.P;
      stage_rows(shared.mimo_x, a.w.mimo_x + at, s.R, s.P, s.wide_p);
      stage_rows(shared.mimo_z, a.w.mimo_z + at, s.R, s.P, s.wide_p);
      stage_rows(shared.mimo_o, a.w.mimo_o + at, s.R, s.P, s.wide_p);
    }
    if (a.w.norm != nullptr) stage_rows(shared.norm, a.w.norm + head * s.P, 1, s.P, s.wide_p);
    __pipeline_commit();
    prefetch(a.w.B_bias + head * s.R * s.N, s.R * s.N);
    prefetch(a.w.C_bias + head * s.R * s.N, s.R * s.N);
  }

  __device__ void load_angles(float (&theta)[kPairs]) const {
#pragma unroll
    for (int i = 0; i < kPairs; ++i) theta[i] = pair(i) < a.l.angles ? state.theta[pair(i)] : 0.0f;
  }

  /// The session's row of dd_dt, dd_A, trap [H] and angle [S].
  __device__ const float* dynamics_row() const {
    return a.dynamics + session * (3 * a.l.heads + a.l.angles);
  }
  /// The session's row of z, x [E], B and C [R G N].
  __device__ const T* projected_row() const {
    return a.projected + session * (2 * a.l.heads * s.P + 2 * s.R * a.groups * s.N);
  }

  /// Steps 1 and 2.
  __device__ Dynamics dynamics() const {
    const int H = static_cast<int>(a.l.heads);
    const float* row = dynamics_row() + head;
    const float dd_dt = row[0], dd_A = row[H], trap = row[2 * H], dt_bias = a.w.dt_bias[head];
    const float activated = a.softplus_A ? softplus(dd_A) : dd_A >= 0 ? 1 + dd_A : __fdividef(1.0f, 1 - dd_A);
    const float dt = softplus(dd_dt + dt_bias), lambda = sigmoid(trap);
    return {expf(-fmaxf(activated, a.A_floor) * dt), lambda * dt, (1 - lambda) * dt, dt};
  }

  /// Step 4 for one pair: its cosine and sine. Pairs beyond S do not turn.
  __device__ float2 turn(int s_index, float before, float angle, float dt, bool keeps) const {
    if (s_index >= a.l.angles) return {1, 0};
    const float rate = tanhf(angle) * std::numbers::pi_v<float>;
    const float theta = turned(before, rate, dt);
    if (keeps) shared.theta[s_index] = theta;
    if (keeps && head == 0) values[a.l.rate + tail * a.l.wide_s + s_index] = rate;
    float2 by;
    sincospif(theta * std::numbers::inv_pi_v<float>, &by.y, &by.x);
    return by;
  }

  /// Steps 2 to 5 for rank r, by one warp: q and k.
  __device__ void rotate_rank(int r, const float (&theta)[kPairs]) const {
    const int H = static_cast<int>(a.l.heads), group = head / (H / a.groups);
    const T* B = projected_row() + 2 * H * s.P + (r * a.groups + group) * s.N;
    const T* C = B + s.R * a.groups * s.N;
    const int bias = (head * s.R + r) * s.N;
    float2 b[kPairs], c[kPairs], b_gain[kPairs], c_gain[kPairs], b_bias[kPairs], c_bias[kPairs];
    float angle[kPairs], b_squares = 0, c_squares = 0;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {  // all loads before the first use
      b[i] = c[i] = b_gain[i] = c_gain[i] = b_bias[i] = c_bias[i] = {0, 0};
      angle[i] = pair(i) < a.l.angles ? dynamics_row()[3 * H + pair(i)] : 0.0f;
      if (!has_pair(i)) continue;
      b[i] = pair_of(B, i), c[i] = pair_of(C, i);
      b_gain[i] = pair_of(a.w.B_norm, i), c_gain[i] = pair_of(a.w.C_norm, i);
      b_bias[i] = pair_of(a.w.B_bias + bias, i), c_bias[i] = pair_of(a.w.C_bias + bias, i);
    }
    const float dt = dynamics().dt;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      b_squares = fmaf(b[i].x, b[i].x, fmaf(b[i].y, b[i].y, b_squares));
      c_squares = fmaf(c[i].x, c[i].x, fmaf(c[i].y, c[i].y, c_squares));
    }
    const float b_scale = inverse_rms(warp_sum(b_squares), s.N),
                c_scale = inverse_rms(warp_sum(c_squares), s.N);
    float *k = token_at(last) + r * s.wide_n, *q = shared.q + r * s.wide_n;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      if (!has_pair(i)) continue;
      const float2 by = turn(pair(i), theta[i], angle[i], dt, r == 0);
      const auto put = [&](float2 v, float scale, float2 gain, float2 bias_of, float* to) {
        const float x = fmaf(v.x * scale, gain.x, bias_of.x), y = fmaf(v.y * scale, gain.y, bias_of.y);
        to[first(i)] = x * by.x - y * by.y;
        to[second(i)] = x * by.y + y * by.x;
      };
      put(b[i], b_scale, b_gain[i], b_bias[i], k);
      put(c[i], c_scale, c_gain[i], c_bias[i], q);
    }
    for (int n = s.N + lane; n < s.wide_n; n += kLanes) k[n] = q[n] = 0;
  }

  /// What the token does to the state, into the tail, and the slots' weights, by one warp.
  __device__ void weigh(const SlotDynamics& slots) const {
    const Dynamics now = dynamics();
    const float decay = slots.weigh(tail, now, shared.weight);
    if (lane != 0) return;
    *shared.decay = decay;
    state.alpha[tail] = now.alpha, state.own[tail] = now.own;
    state.before[tail] = now.before, state.dt[tail] = now.dt;
  }

  /// The new token into its slot, q, z and the slots' weights.
  __device__ void prepare(const SlotDynamics& slots, const float (&theta)[kPairs]) const {
    const T* z = projected_row() + head * s.P + thread;
    const bool is_column = thread < s.P;
    const float my_z = is_column ? static_cast<float>(z[0]) : 0.0f;
    const float my_x = is_column ? static_cast<float>(z[a.l.heads * s.P]) : 0.0f;
    for (int r = warp; r < s.R; r += warps) rotate_rank(r, theta);
    for (int r = s.R + warp; r < kRanks; r += warps) {
      for (int n = lane; n < s.wide_n; n += kLanes) shared.q[r * s.wide_n + n] = 0;
    }
    if (warp == warps - 1) weigh(slots);
    if (thread < s.wide_p) token_at(last)[s.R * s.wide_n + thread] = my_x, shared.z[thread] = my_z;
  }

  /// score[slot, i, r] = weight q[r] k[slot, i], a warp for each key.
  __device__ void score() const {
    for (int key = warp; key < (last + 1) * s.R; key += warps) {
      const int slot = key / s.R;
      const float* k = token_at(slot) + (key - slot * s.R) * s.wide_n;
      float sums[kRanks] = {};
      for (int n = 4 * lane; n < s.wide_n; n += 4 * kLanes) {
        const float4 right = load4(k + n);
#pragma unroll
        for (int r = 0; r < kRanks; ++r) {
          const float4 both = load4(shared.q + r * s.wide_n + n) * right;
          sums[r] += (both.x + both.y) + (both.z + both.w);
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
  __device__ void read_out(const Tile<Head>& tile, float4 (&y)[kRanks]) const {
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      y[r] = {0, 0, 0, 0};
      tile.each_row(shared.q + r * s.wide_n, [&](int i, float q) { add_scaled(y[r], q, tile.rows[i]); });
    }
  }

  /// The checkpoint's decay, and the slots that fall to this group of rows: sum of score v.
  __device__ void add_slots(const Tile<Head>& tile, float4 (&y)[kRanks]) const {
    const float decay = *shared.decay;
#pragma unroll
    for (int r = 0; r < kRanks; ++r) y[r] = decay * y[r];
    for (int slot = tile.group(); slot <= last; slot += row_groups(s)) {
      const float4 x = load4(token_at(slot) + s.R * s.wide_n + tile.column);
      const float* score = shared.score + slot * s.R * kRanks;
      for (int i = 0; i < s.R; ++i) {
        const float4 v = shared.mimo_x == nullptr ? x : x * load4(shared.mimo_x + i * s.wide_p + tile.column);
#pragma unroll
        for (int r = 0; r < kRanks; ++r) add_scaled(y[r], score[i * kRanks + r], v);
      }
    }
  }

  /// Steps 8 and 9 for rank r, by one warp: the groups' sums, D term, norm and gate, in place of the first
  /// group's sum.
  __device__ void gate_rank(int r, float D) const {
    float *y = shared.partial + r * s.wide_p, squares = 0;
    for (int p = lane; p < s.P; p += kLanes) {
      const float x = token_at(last)[s.R * s.wide_n + p];
      float sum = D * (shared.mimo_x == nullptr ? x : x * shared.mimo_x[r * s.wide_p + p]);
      for (int g = 0; g < row_groups(s); ++g) sum += y[g * kRanks * s.wide_p + p];
      squares = fmaf(sum, sum, squares);
      y[p] = sum;
    }
    const float scale = shared.norm == nullptr ? 1.0f : inverse_rms(warp_sum(squares), s.P);
    for (int p = lane; p < s.P; p += kLanes) {
      float z = shared.z[p], gain = 1;
      if (shared.norm != nullptr) gain = scale * shared.norm[p];
      if (shared.mimo_z != nullptr)
        z *= shared.mimo_z[r * s.wide_p + p], gain *= shared.mimo_o[r * s.wide_p + p];
      y[p] *= gain * z * sigmoid(z);
    }
  }

  /// The sum over ranks, and the token and its angles into the state.
  __device__ void finish() const {
    if (thread < s.P) {
      float sum = 0;
      for (int r = 0; r < s.R; ++r) sum += shared.partial[r * s.wide_p + thread];
      a.out[(session * a.l.heads + head) * s.P + thread] = static_cast<T>(sum);
    }
    float* slot = state.tokens + (folds ? 0 : last) * s.token;
    for (int i = 4 * thread; i < s.token; i += 4 * threads) store4(slot + i, load4(token_at(last) + i));
    for (int i = thread; i < a.l.angles; i += threads) {
      state.theta[i] = shared.theta[i];
      if (folds) state.start[i] = shared.theta[i];
    }
  }
};

template <typename T, typename Head>
__global__ void __launch_bounds__(Head::kThreads, Head::kBlocks)
    step_kernel(const __grid_constant__ StepArgs<T> a) {
  extern __shared__ __align__(16) float memory[];
  const HeadStep<T, Head> step(a, memory);
  const SlotDynamics slots(step.state, step.tail);
  float theta[Head::kPairs];
  step.load_angles(theta);
  Tile<Head> tile(step.s);
  if (!tile.empty()) tile.load(step.state.h);
  const float D = a.w.D[step.head];
  step.stage_inputs();
  wait_for_products();
  step.prepare(slots, theta);
  __pipeline_wait_prior(0);
  __syncthreads();

  step.score();
  float4 y[Head::kRanks];
  if (!tile.empty()) step.read_out(tile, y);
  __syncthreads();

  if (!tile.empty()) {
    step.add_slots(tile, y);
#pragma unroll
    for (int r = 0; r < Head::kRanks; ++r) {
      store4(step.shared.partial + (tile.group() * Head::kRanks + r) * step.s.wide_p + tile.column, y[r]);
    }
    if (step.folds) {
      tile.fold(*step.shared.decay, step.last + 1, step.shared.weight, step.shared.mimo_x,
                [&](int slot) { return step.token_at(slot); });
      tile.store(step.state.h);
    }
  }
  __syncthreads();

  for (int r = step.warp; r < step.s.R; r += step.warps) step.gate_rank(r, D);
  __syncthreads();
  step.finish();
}

template <typename Head, typename T>
void launch(const StepArgs<T>& args, bool overlap, cudaStream_t stream) {
  const Head head(args.l);
  float* const none = nullptr;
  const StepShared shared(head, args.l, args.w.mimo_x != nullptr, args.w.norm != nullptr, none);
  const auto bytes = static_cast<std::size_t>(shared.end - none) * sizeof(float);
  const auto kernel = step_kernel<T, Head>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "asking for a step's shared memory");
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(args.l.heads), static_cast<unsigned>(args.sessions.batch));
  config.blockDim = dim3(static_cast<unsigned>(block_threads(head)));
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = overlap ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, args), "step_heads");
}

}  // namespace

bool takes_shape(const Mamba3Layout& l) {
  return l.rank <= 8 && l.d_state <= 256 && l.headdim <= 128 && l.chunk <= kLanes;
}

template <typename T>
void step_heads(const Mamba3Config& config, const Mamba3Layout& layout, const Mamba3StepWeights& weights,
                const Mamba3Sessions& sessions, std::int64_t offset, const T* projected,
                const float* dynamics, T* out, bool overlap, cudaStream_t stream) {
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
  if (PublishedHead<1>::takes(layout)) return launch<PublishedHead<1>>(args, overlap, stream);
  if (PublishedHead<4>::takes(layout)) return launch<PublishedHead<4>>(args, overlap, stream);
  if (layout.rank == 1) return launch<AnyHead<1>>(args, overlap, stream);
  if (layout.rank <= 4) return launch<AnyHead<4>>(args, overlap, stream);
  launch<AnyHead<8>>(args, overlap, stream);
}

template void step_heads(const Mamba3Config&, const Mamba3Layout&, const Mamba3StepWeights&,
                         const Mamba3Sessions&, std::int64_t, const float*, const float*, float*, bool,
                         cudaStream_t);
template void step_heads(const Mamba3Config&, const Mamba3Layout&, const Mamba3StepWeights&,
                         const Mamba3Sessions&, std::int64_t, const __nv_bfloat16*, const float*,
                         __nv_bfloat16*, bool, cudaStream_t);

}  // namespace mamba3::cuda
