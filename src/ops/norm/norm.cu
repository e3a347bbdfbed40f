#include "core/cuda/reduce_cuda.cuh"
#include "core/cuda/runtime.h"
#include "core/cuda/values_cuda.cuh"
#include "ops/norm/norm_cuda.h"

namespace mamba3::cuda {
namespace {

constexpr int kThreads = 256;  // 2 vectors each at d_model 2048
constexpr float kNormEps = 1e-5f;

// kCount neighbouring values, moved at once.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Values {
  T v[kCount];
};

// A block a row. The row is read up to three times: after the first it comes from the cache.
template <int kCount, typename Out>
__global__ void __launch_bounds__(kThreads) norm_row(NormWeights w, const float* all_x, Out* all_out) {
  const float* x = all_x + blockIdx.x * w.width;
  Out* out = all_out + blockIdx.x * w.width;
  const auto each = [&](const auto& body) {
    for (std::int64_t i = threadIdx.x * kCount; i < w.width; i += kThreads * kCount) {
      body(i, *reinterpret_cast<const Values<float, kCount>*>(x + i));
    }
  };
  const auto mean_of = [&](const auto& f) {
    float sum = 0;
    each([&](std::int64_t, const Values<float, kCount>& part) {
#pragma unroll
      for (int j = 0; j < kCount; ++j) sum += f(part.v[j]);
    });
    return block_reduce<kThreads>(sum, Plus()) / static_cast<float>(w.width);
  };
  const float mean = w.bias == nullptr ? 0.0f : mean_of([](float v) { return v; });
  const float squares = mean_of([&](float v) { return (v - mean) * (v - mean); });
  const float scale = 1.0f / sqrtf(squares + kNormEps);
  each([&](std::int64_t i, const Values<float, kCount>& part) {
    Values<Out, kCount> normed;
#pragma unroll
    for (int j = 0; j < kCount; ++j) {
      const float shift = w.bias == nullptr ? 0.0f : w.bias[i + j];
      normed.v[j] = from_float<Out>((part.v[j] - mean) * scale * w.weight[i + j] + shift);
    }
    *reinterpret_cast<Values<Out, kCount>*>(out + i) = normed;
  });
}

template <typename Out>
void launch(const NormWeights& w, const float* x, std::int64_t rows, Out* out, cudaStream_t stream) {
  if (rows == 0) return;
  const auto run = w.width % 4 == 0 ? norm_row<4, Out> : norm_row<1, Out>;
  run<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(w, x, out);
  check_launch("norm");
}

}  // namespace

void norm(const NormWeights& w, const float* x, std::int64_t rows, float* out, cudaStream_t stream) {
  launch(w, x, rows, out, stream);
}

void norm(const NormWeights& w, const float* x, std::int64_t rows, __nv_bfloat16* out, cudaStream_t stream) {
  launch(w, x, rows, out, stream);
}

}  // namespace mamba3::cuda
