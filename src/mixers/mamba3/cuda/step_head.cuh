// One token of one head, piece by piece, in the order in which the kernel of step.cu calls them.
#pragma once

#include <cstdint>
#include <numbers>

#include "mixers/mamba3/cuda/slots.cuh"
#include "mixers/mamba3/cuda/step_args.cuh"

namespace mamba3::cuda::step {

/// One head of one session. Even warps make k and hold x, odd ones make q and hold z: `index` is a thread's
/// first pair of elements and its first column, `stride` the distance to its next ones.
template <typename T, typename Head>
struct HeadStep {
  static constexpr int kRanks = Head::kRanks;
  const StepArgs<T>& a;
  float* const shared;
  const Head s{a.shape, a.is_mimo};
  const int group = static_cast<int>(blockIdx.y), session = static_cast<int>(blockIdx.z);
  const int head = group * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x), threads = s.threads();
  const int lane = static_cast<int>(threadIdx.x % kLanes), warp = static_cast<int>(threadIdx.x / kLanes);
  const int warps = threads / kLanes;
  const bool is_query = warp % 2 == 1;
  const int index = warp / 2 * kLanes + lane, stride = (warps + (is_query ? 0 : 1)) / 2 * kLanes;
  const int tail = a.sessions.tails[session], last = tail + 1;
  const bool folds = ((static_cast<int>(a.sessions.positions[session]) + 1) & (a.fold_every - 1)) == 0;
  const HeadState state{a.shape, a.sessions.states[session] + a.offset, head};
  float *const tokens = shared + a.shared.tokens, *const fresh = tokens;
  const float D = a.w.D[head];
  const T* const projected = a.projected + static_cast<std::int64_t>(session) * a.row;
  const float* const dynamics_row = a.dynamics + static_cast<std::int64_t>(session) * a.dynamics_row;

  /// visit(tokens, begin, end) for the places [begin, end): k [R, N'] and x [P'] of a place lie at
  /// tokens + place token. A session that only steps has all of them in shared memory; slots of a longer
  /// tail, left by a prefill, stay where they are.
  template <typename Visit>
  __device__ void each_part(const Visit& visit) const {
    visit(tokens, 0, 1 + min(last, a.shared.old));
    if (last > a.shared.old) visit(state.token(0) - s.token, 1 + a.shared.old, 1 + last);
  }

  /// What needs no product, on its way: first the old slots, then h, and what there is of parameters.
  __device__ void begin(Tile<Head>& tile) const {
    if constexpr (Head::kPublished) {
      const std::uint64_t policy = state_policy(folds);
      each_of(4 * thread, 4 * threads, min(last, a.shared.old) * s.token,
              [&](int i) { stage_state(tokens + s.token + i, state.token(0) + i, policy); });
      __pipeline_commit();
      tile.begin_load(state.h(), folds);
    }
    if (s.is_mimo) {
      stage_rows(shared + a.shared.mimo_x, a.w.mimo_x + head * s.R * s.P, s.R, s.P, s.wide_p, threads);
    }
    __pipeline_commit();
    prefetch((is_query ? a.w.C_bias : a.w.B_bias) + head * s.R * s.N, s.R * s.N, threads);
  }

  /// B or C of the head's group, [R, N] with G N elements between ranks.
  __device__ const T* vectors() const {
    return projected + 2 * a.shape.heads * s.P + ((is_query ? s.R * a.groups : 0) + group) * s.N;
  }

  // Loads. All of them come before the first use: a branch or a conversion between them waits for each in
  // turn.

  /// A pair of all ranks before its rotation. Elements that turn together: (2i, 2i + 1) for SISO, (i, i +
  /// N/2) for MIMO.
  struct PairInput {
    Values<T, 2> raw[kRanks];
    Values<float, 2> bias[kRanks], gain;
    float theta, angle;
  };
  template <typename From>
  __device__ Values<From, 2> load_pair(const From* v, int pair) const {
    if (s.is_mimo) return {v[pair], v[pair + s.N / 2]};
    if constexpr (Head::kPublished) return Values<From, 2>::load(v + 2 * pair);
    return {v[2 * pair], v[2 * pair + 1]};
  }
  /// Pairs beyond S have no angle, and get what lies in front of their place: a load without a branch.
  __device__ float load_theta(int pair) const {
    return __ldcs(state.theta() + max(0, min(pair, a.shape.angles - 1)));
  }
  __device__ float load_angle(int pair) const {
    const int first = 3 * a.shape.heads;
    return dynamics_row[min(first + pair, first + a.shape.angles - 1)];
  }
  __device__ PairInput load_inputs(int any_pair, float theta) const {
    const int pair = Head::kPublished ? any_pair : min(any_pair, s.N / 2 - 1);
    const T* raw = vectors();
    const float* bias = (is_query ? a.w.C_bias : a.w.B_bias) + head * s.R * s.N;
    PairInput in{};
    in.gain = load_pair(is_query ? a.w.C_norm : a.w.B_norm, pair);
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      if (r >= s.R) break;
      in.raw[r] = load_pair(raw + r * a.groups * s.N, pair);
      in.bias[r] = load_pair(bias + r * s.N, pair);
    }
    in.theta = theta;
    in.angle = load_angle(pair);
    return in;
  }

  /// A column of x, or of z and what goes with it.
  struct ColumnInput {
    T value;
    float mimo_z[kRanks], mimo_o[kRanks], gain;
  };
  __device__ ColumnInput load_column(int any_p) const {
    const int p = Head::kPublished ? any_p : min(any_p, s.P - 1);
    ColumnInput in{};
    in.value = projected[(is_query ? 0 : a.shape.heads * s.P) + head * s.P + p];
    if (!is_query) return in;
    in.gain = a.w.norm == nullptr ? 1.0f : a.w.norm[head * s.P + p];
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      if (r >= s.R) break;
      const int at = (head * s.R + r) * s.P + p;
      in.mimo_z[r] = s.is_mimo ? a.w.mimo_z[at] : 1.0f;
      in.mimo_o[r] = s.is_mimo ? a.w.mimo_o[at] : 1.0f;
    }
    return in;
  }

  struct DynamicsInput {
    float dd_dt, dd_A, trap, dt_bias;
  };
  __device__ DynamicsInput load_dynamics() const {
    const float* row = dynamics_row + head;
    return {row[0], row[a.shape.heads], row[2 * a.shape.heads], a.w.dt_bias[head]};
  }

  /// A lane's part of each rank's vector.
  struct VectorInput {
    Values<T, 4> of[kRanks];
  };
  __device__ VectorInput load_vectors() const {
    VectorInput in{};
    if constexpr (Head::kPublished) {
#pragma unroll
      for (int r = 0; r < kRanks; ++r) {
        in.of[r] = Values<T, 4>::load(vectors() + r * a.groups * s.N + 4 * lane);
      }
    }
    return in;
  }

  /// Steps 1 and 2.
  __device__ Dynamics dynamics(const DynamicsInput& in) const {
    const float dt = softplus(in.dd_dt + in.dt_bias), lambda = sigmoid(in.trap);
    const float heavy = in.dd_A >= 0 ? 1 + in.dd_A : __fdividef(1.0f, 1 - in.dd_A);
    const float activated = a.softplus_A ? softplus(in.dd_A) : heavy;
    return {expf(-fmaxf(activated, a.A_floor) * dt), lambda * dt, (1 - lambda) * dt, dt};
  }

  /// Step 3's scale of each rank's vector.
  __device__ void norms(const VectorInput& in, float (&scale)[kRanks]) const {
    float squares[kRanks] = {};
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      if (r >= s.R) break;
      if constexpr (Head::kPublished) {
#pragma unroll
        for (int i = 0; i < 4; ++i) squares[r] = fmaf(in.of[r][i], in.of[r][i], squares[r]);
      } else {
        const T* v = vectors() + r * a.groups * s.N;
        each_of(lane, kLanes, s.N, [&](int n) {
          squares[r] = fmaf(static_cast<float>(v[n]), static_cast<float>(v[n]), squares[r]);
        });
      }
    }
    const float mine = inverse_rms(warp_sums(squares), s.N);
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      scale[r] = kRanks == 1 ? mine : __shfl_sync(kAllLanes, mine, r * (kLanes / kRanks));
    }
  }

  /// Step 4 for one pair: its cosine and sine. Pairs beyond S do not turn.
  __device__ float2 turn(int pair, const PairInput& in, float dt) const {
    if (pair >= a.shape.angles) return {1, 0};
    const float rate = tanhf(in.angle) * std::numbers::pi_v<float>;
    const float theta = turned(in.theta, rate, dt);
    if (!is_query) {
      shared[a.shared.theta + pair] = theta;
      if (head == 0) state.values[a.shape.rate + tail * a.shape.wide_s + pair] = rate;
    }
    float2 by;
    sincospif(theta * std::numbers::inv_pi_v<float>, &by.y, &by.x);
    return by;
  }

  __device__ void store_pair(float* v, int pair, float2 value) const {
    if (s.is_mimo) {
      v[pair] = value.x, v[pair + s.N / 2] = value.y;
    } else {
      *reinterpret_cast<float2*>(v + 2 * pair) = value;
    }
  }
  /// Steps 3 to 5 for a pair of all ranks, to `rows` [R, N'].
  __device__ void rotate(int pair, const PairInput& in, const float (&scale)[kRanks], float dt,
                         float* rows) const {
    const float2 by = turn(pair, in, dt);
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      if (r >= s.R) break;
      const float x = fmaf(in.raw[r][0] * scale[r], in.gain[0], in.bias[r][0]);
      const float y = fmaf(in.raw[r][1] * scale[r], in.gain[1], in.bias[r][1]);
      store_pair(rows + r * s.wide_n, pair, {x * by.x - y * by.y, x * by.y + y * by.x});
    }
  }

  /// x into the new token; z, norm's gain, mimo_z and mimo_o into what step 9 multiplies y of each rank with.
  __device__ void store_column(int p, const ColumnInput& in) const {
    const float value = p < s.P ? static_cast<float>(in.value) : 0.0f;
    if (!is_query) {
      fresh[s.R * s.wide_n + p] = value;
      return;
    }
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      if (r >= s.R) break;
      const float z = value * in.mimo_z[r];
      shared[a.shared.gate + r * s.wide_p + p] = z * sigmoid(z) * in.gain * in.mimo_o[r];
    }
  }

  /// Steps 1 to 5: the new token into its slot, q, the gate and the slots' weights.
  __device__ void prepare(const SlotDynamics& slots, float theta) const {
    const bool weighs = warp == warps - 1;
    ColumnInput column = load_column(index);
    PairInput pairs = load_inputs(index, theta);
    const VectorInput vectors = load_vectors();
    const DynamicsInput steering = load_dynamics();
    float scale[kRanks];
    norms(vectors, scale);
    const Dynamics now = dynamics(steering);
    float* const rows = is_query ? shared + a.shared.q : fresh;
    each_of(index, stride, s.N / 2, [&](int pair) {
      rotate(pair, pairs, scale, now.dt, rows);
      if (pair + stride < s.N / 2) pairs = load_inputs(pair + stride, load_theta(pair + stride));
    });
    each_of(index, stride, s.wide_p, [&](int p) {
      store_column(p, column);
      if (p + stride < s.wide_p) column = load_column(p + stride);
    });
    if (weighs) weigh(slots, now);
    clear_padding(rows);
  }

  /// Zeros to rows [R, N'] beyond N, and for ranks that do not exist.
  __device__ void clear_padding(float* rows) const {
    if constexpr (!Head::kPublished) {
      each_of(index, stride, (is_query ? kRanks : s.R) * s.wide_n, [&](int i) {
        if (i / s.wide_n >= s.R || i % s.wide_n >= s.N) rows[i] = 0;
      });
    }
  }

  /// What the token does to the state, into the tail, and the slots' weights, by one warp.
  __device__ void weigh(const SlotDynamics& slots, const Dynamics& now) const {
    float* const weight = shared + a.shared.weight;
    const float decay = slots.weigh(tail, now, weight + 1);
    if (lane != 0) return;
    weight[0] = now.own;
    shared[a.shared.decay] = decay;
    state.alpha()[tail] = now.alpha, state.own()[tail] = now.own;
    state.before()[tail] = now.before, state.dt()[tail] = now.dt;
  }

  /// Scores of one key with all ranks' queries.
  struct alignas(kRanks >= 4 ? 16 : 4) Scores {
    float of[kRanks];
  };

  /// score[place, i, r] = weight q[r] k[place, i], and D for the new token's own rank: a warp takes a few
  /// keys at once and so shares their shuffles.
  __device__ void score(const float* tokens, int begin, int end) const {
    constexpr int kKeys = kRanks == 1 ? 4 : 2;
    constexpr int kLanesOfSum = kLanes / (kKeys * kRanks);
    const float* q = shared + a.shared.q;
    const int keys = end * s.R;
    for (int first = begin * s.R + warp * kKeys; first < keys; first += warps * kKeys) {
      float sums[kKeys * kRanks] = {};
#pragma unroll
      for (int from = 0; from < s.wide_n; from += 4 * kLanes) {
        const int n = from + 4 * lane;
        if (n >= s.wide_n) break;
        float4 query[kRanks];
#pragma unroll
        for (int r = 0; r < kRanks; ++r) query[r] = load4(q + r * s.wide_n + n);
#pragma unroll
        for (int i = 0; i < kKeys; ++i) {
          const int key = min(first + i, keys - 1), place = key / s.R;
          const float4 k = load4(tokens + place * s.token + (key - place * s.R) * s.wide_n + n);
#pragma unroll
          for (int r = 0; r < kRanks; ++r) sums[i * kRanks + r] += sum(query[r] * k);
        }
      }
      const float total = warp_sums(sums);
      const int key = first + lane / kLanesOfSum / kRanks, place = key / s.R, r = lane / kLanesOfSum % kRanks;
      if (lane % kLanesOfSum == 0 && key < keys) {
        shared[a.shared.score + key * kRanks + r] =
            fmaf(shared[a.shared.weight + place], total, key == r ? D : 0.0f);
      }
    }
  }

  /// y of the tile's rows, [kRanks] of four columns: decay sum_n q[r, n] h[n, p].
  __device__ void read_out(const Tile<Head>& tile, float4 (&y)[kRanks]) const {
    const float decay = shared[a.shared.decay];
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      y[r] = {0, 0, 0, 0};
      tile.each_row(shared + a.shared.q + r * s.wide_n,
                    [&](int i, float q) { add_scaled(y[r], q, tile[i]); });
      y[r] = decay * y[r];
    }
  }

  /// Adds the tokens that fall to this group of rows: sum of score v.
  __device__ void add_tokens(const Tile<Head>& tile, const float* tokens, int begin, int end,
                             float4 (&y)[kRanks]) const {
    for (int place = begin + tile.group; place < end; place += row_groups(s)) {
      const float4 x = load4(tokens + place * s.token + s.R * s.wide_n + tile.column);
      const auto* scores = reinterpret_cast<const Scores*>(shared + a.shared.score) + place * s.R;
      for (int i = 0; i < s.R; ++i) {
        const float4 v = s.is_mimo ? x * load4(shared + a.shared.mimo_x + i * s.wide_p + tile.column) : x;
        const Scores mine = scores[i];
#pragma unroll
        for (int r = 0; r < kRanks; ++r) add_scaled(y[r], mine.of[r], v);
      }
    }
  }

  /// The tail and the new token go into the checkpoint.
  __device__ void fold(const Tile<Head>& tile) const {
    typename Tile<Head>::Rows rows;
    tile.decayed(shared[a.shared.decay], rows);
    each_part([&](const float* tokens, int begin, int end) {
      tile.add_tokens(tokens, begin, end, shared + a.shared.weight, shared + a.shared.mimo_x, rows);
    });
    tile.store(rows, state.h());
  }

  /// Step 9 for a group's sums. Without norm the gate and the sum over ranks come before the sum over groups;
  /// with norm that sum has to be known first, and gate_rank does the rest.
  __device__ void store_partial(const Tile<Head>& tile, const float4 (&y)[kRanks]) const {
    float* partial = shared + a.shared.partial;
    float4 gated{0, 0, 0, 0};
#pragma unroll
    for (int r = 0; r < kRanks; ++r) {
      if (r >= s.R) break;
      if (a.w.norm != nullptr) {
        store4(partial + (tile.group * kRanks + r) * s.wide_p + tile.column, y[r]);
      } else {
        gated = gated + load4(shared + a.shared.gate + r * s.wide_p + tile.column) * y[r];
      }
    }
    if (a.w.norm == nullptr) store4(partial + tile.group * s.wide_p + tile.column, gated);
  }

  /// Norm and gate of rank r, by one warp, in place of the first group's sum.
  __device__ void gate_rank(int r) const {
    float *y = shared + a.shared.partial + r * s.wide_p, squares[1] = {0};
    each_of(lane, kLanes, s.P, [&](int p) {
      float total = 0;
      for (int g = 0; g < row_groups(s); ++g) total += y[g * kRanks * s.wide_p + p];
      squares[0] = fmaf(total, total, squares[0]);
      y[p] = total;
    });
    const float scale = inverse_rms(warp_sums(squares), s.P);
    each_of(lane, kLanes, s.P, [&](int p) { y[p] *= scale * shared[a.shared.gate + r * s.wide_p + p]; });
  }

  /// The sum of `count` rows of partial sums: of groups, or with norm of ranks.
  __device__ void store_out(int count) const {
    T* out = a.out + (static_cast<std::int64_t>(session) * a.shape.heads + head) * s.P;
    each_of(thread, threads, s.P, [&](int p) {
      float total = 0;
      for (int i = 0; i < count; ++i) total += shared[a.shared.partial + i * s.wide_p + p];
      out[p] = static_cast<T>(total);
    });
  }

  /// The token and its angles into the state, by the last threads: the first ones have the output.
  __device__ void store_token() const {
    const int from_last = threads - 1 - thread;
    float *slot = state.token(folds ? 0 : last), *mine = fresh;
    each_of(4 * from_last, 4 * threads, s.token, [&](int i) { store4(slot + i, load4(mine + i)); });
    each_of(from_last, threads, a.shape.angles, [&](int i) {
      const float theta = shared[a.shared.theta + i];
      state.theta()[i] = theta;
      if (folds) state.start()[i] = theta;
    });
  }
};

}  // namespace mamba3::cuda::step
