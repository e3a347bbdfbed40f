// What a step's kernel is given, its shared memory, and the small arithmetic of warps and activations.
#pragma once

#include <cstdint>

#include "mixers/mamba3/cuda/step_cuda.h"
#include "mixers/mamba3/cuda/step_shape.cuh"

namespace mamba3::cuda::step {

/// A block's shared memory, offsets in floats. A published head has h [N, P'] at its start.
struct StepShared {
  int tokens = 0;  // [1 + old, token]  k and x: the new token's, then those of the first `old` slots
  int old = 0;
  int q = 0;        // [kRanks, N'], those of ranks that do not exist are zeros
  int partial = 0;  // [groups of rows, P'], or with norm [groups of rows, kRanks, P']
  int score = 0;    // [1 + slots, R, kRanks], by place: 0 is the new token's, 1 + i slot i's
  int gate = 0;     // [R, P']
  int mimo_x = 0;   // [R, P']
  int theta = 0;    // [S]
  int weight = 0;   // [1 + slots], by place
  int decay = 0;    // [1]
  int size = 0;

  StepShared() = default;
  template <typename Head>
  StepShared(const Head& s, const StateShape& shape, int fold_every, bool is_normed) {
    const auto take = [this](int& part, int count) {
      part = size;
      size += (count + 3) / 4 * 4;
    };
    if (Head::kPublished) old = fold_every, size = s.N * s.wide_p;
    take(tokens, (1 + old) * s.token);
    take(q, Head::kRanks * s.wide_n);
    take(partial, row_groups(s) * (is_normed ? Head::kRanks : 1) * s.wide_p);
    take(score, (1 + shape.slots) * s.R * Head::kRanks);
    take(gate, s.R * s.wide_p);
    take(mimo_x, s.is_mimo ? s.R * s.wide_p : 0);
    take(theta, shape.angles);
    take(weight, 1 + shape.slots), take(decay, 1);
  }
};

template <typename T>
struct StepArgs {
  StateShape shape;
  StepShared shared;
  Mamba3Parameters w;
  Mamba3Sessions sessions;
  std::int64_t offset;
  const T* projected;
  const float* dynamics;
  T* out;
  int row;           // elements of a session's row of `projected`
  int dynamics_row;  // and of `dynamics`
  int groups;        // G
  int fold_every;
  float A_floor;
  bool is_mimo, softplus_A;
};

/// The sums over a warp of kCount values of each lane; lane i gets that of value i / (32 / kCount). Halves
/// are exchanged, so that 4 values cost 6 shuffles and not 20.
template <int kCount>
__device__ float warp_sums(float (&v)[kCount]) {
  int distance = kLanes / 2;
#pragma unroll
  for (int half = kCount / 2; half > 0; half /= 2, distance /= 2) {
    const bool upper = (threadIdx.x & static_cast<unsigned>(distance)) != 0;
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

__device__ inline float sigmoid(float v) {
  return __fdividef(1.0f, 1.0f + expf(-v));
}
__device__ inline float softplus(float v) {
  return v > 20 ? v : log1pf(expf(v));
}
__device__ inline float inverse_rms(float squares, int count) {
  return rsqrtf(squares * (1.0f / static_cast<float>(count)) + static_cast<float>(kNormEpsilon));
}

/// kCount values as they lie in memory.
template <typename T, int kCount>
struct alignas(kCount * sizeof(T)) Values {
  T of[kCount];
  __device__ float operator[](int i) const { return static_cast<float>(of[i]); }
  /// On a boundary of their size.
  __device__ static Values load(const T* v) { return *reinterpret_cast<const Values*>(v); }
};

}  // namespace mamba3::cuda::step
