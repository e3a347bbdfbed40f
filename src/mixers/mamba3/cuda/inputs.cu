#include <numbers>

#include "core/cuda/reduce_cuda.cuh"
#include "core/cuda/runtime.h"
#include "core/cuda/values_cuda.cuh"
#include "mixers/mamba3/cuda/inputs_cuda.h"

namespace mamba3::cuda {
namespace {

constexpr int kThreads = 128;  // 64 heads and 32 angles; four vectors at a time

struct Shape {
  int heads, angles, d_state, vectors;  // vectors: R G, of B and of C each
  std::int64_t first, width;            // of B in a row; of a row
  bool softplus_A;
  float floor_A;
};

// log(1 + e^v); the identity above 20, as PyTorch has it.
__device__ float softplus(float v) {
  return v > 20 ? v : log1pf(expf(v));
}

__device__ float activation_A(const Shape& s, float v) {
  if (s.softplus_A) return softplus(v);
  return v >= 0 ? 1 + v : 1 / (1 - v);
}

__device__ void unpack_head(const Shape& s, const float* dt_bias, const float* row, std::int64_t token,
                            int head, const Mamba3Dynamics& out) {
  const std::int64_t at = token * s.heads + head;
  const float dt = softplus(row[head] + dt_bias[head]);
  out.dt[at] = dt;
  out.adt[at] = -fmaxf(activation_A(s, row[s.heads + head]), s.floor_A) * dt;
  out.trap[at] = row[2 * s.heads + head];
}

// One vector by one warp.
template <typename Row>
__device__ void norm_vector(Row* v, const float* gain, int size) {
  const int lane = threadIdx.x % kWarp;
  float squares = 0;
  for (int n = lane; n < size; n += kWarp) squares += as_float(v[n]) * as_float(v[n]);
  const float mean = warp_reduce(squares, Plus()) / static_cast<float>(size);
  const float scale = 1.0f / sqrtf(mean + static_cast<float>(kNormEpsilon));
  for (int n = lane; n < size; n += kWarp) v[n] = from_float<Row>(as_float(v[n]) * scale * gain[n]);
}

// A block a token.
template <typename Row>
__global__ void __launch_bounds__(kThreads)
    make_inputs(Shape s, Mamba3Parameters w, Row* projected, const float* dynamics, Mamba3Dynamics out) {
  const std::int64_t token = blockIdx.x;
  const float* row = dynamics + token * (3 * s.heads + s.angles);
  for (int i = threadIdx.x; i < s.heads + s.angles; i += kThreads) {
    if (i < s.heads) {
      unpack_head(s, w.dt_bias, row, token, i, out);
    } else {
      const int angle = i - s.heads;
      out.rate[token * s.angles + angle] = tanhf(row[3 * s.heads + angle]) * std::numbers::pi_v<float>;
    }
  }
  Row* B = projected + token * s.width + s.first;
  for (int i = threadIdx.x / kWarp; i < 2 * s.vectors; i += kThreads / kWarp) {
    norm_vector(B + i * s.d_state, i < s.vectors ? w.B_norm : w.C_norm, s.d_state);
  }
}

}  // namespace

template <typename Row>
void mamba3_inputs(const Mamba3Config& c, const Mamba3Parameters& weights, std::int64_t rows, Row* projected,
                   const float* dynamics, const Mamba3Dynamics& out, cudaStream_t stream) {
  if (rows == 0) return;
  const Shape shape{.heads = static_cast<int>(c.n_heads()),
                    .angles = static_cast<int>(c.n_angles()),
                    .d_state = static_cast<int>(c.d_state),
                    .vectors = static_cast<int>(c.rank() * c.ngroups),
                    .first = 2 * c.d_inner(),
                    .width = c.in_rows(),
                    .softplus_A = c.A_activation == AActivation::softplus,
                    .floor_A = static_cast<float>(c.A_floor)};
  make_inputs<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(shape, weights, projected, dynamics, out);
  check_launch("mamba3_inputs");
}

template void mamba3_inputs(const Mamba3Config&, const Mamba3Parameters&, std::int64_t, float*, const float*,
                            const Mamba3Dynamics&, cudaStream_t);
template void mamba3_inputs(const Mamba3Config&, const Mamba3Parameters&, std::int64_t, __nv_bfloat16*,
                            const float*, const Mamba3Dynamics&, cudaStream_t);

}  // namespace mamba3::cuda
