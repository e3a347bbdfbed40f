// Weight matrices of every type on the GPU, and what their bytes stand for.
#pragma once

#include "gpu/gpu.h"
#include "ops/linear/cuda/matrix_cuda.h"
#include "ops/linear/cuda/planes_cuda.h"

namespace mamba3::test {

class GpuMatrix {
 public:
  GpuMatrix(DType type, std::int64_t rows, std::int64_t cols, std::uint64_t seed, cudaStream_t stream)
      : memory_(poisoned<std::byte>(cuda::device_bytes(type, rows, cols), stream)),
        view_(cuda::matrix_at(type, rows, cols, memory_.data())),
        values_(static_cast<std::size_t>(rows * cols)) {
    const auto drawn = uniform(seed, rows * cols, -1, 1);
    std::vector<std::byte> stored(static_cast<std::size_t>(*bytes_of(type, rows * cols)));
    from_float(type, drawn.data(), rows * cols, stored.data());
    to_double(type, stored.data(), rows * cols, values_.data());
    const auto bytes = on_device(stored, stream);
    if (is_quantized(type)) {
      cuda::cut_planes(type, rows, cols, bytes.data(), 0, rows, memory_.data(), stream);
      cuda::check(cudaStreamSynchronize(stream), "cutting planes");
    } else {
      cuda::upload(memory_.data(), stored.data(), stored.size(), stream);
    }
  }

  const cuda::DeviceMatrix& view() const { return view_; }
  const std::vector<double>& values() const { return values_; }

 private:
  cuda::Buffer<std::byte> memory_;
  cuda::DeviceMatrix view_;
  std::vector<double> values_;
};

inline const std::vector<DType>& weight_types() {
  static const std::vector<DType> types = {DType::f32,  DType::f16,  DType::bf16, DType::q8_0,
                                           DType::q4_0, DType::q4_1, DType::q5_0, DType::q5_1,
                                           DType::q4_k, DType::q5_k, DType::q6_k};
  return types;
}

/// x [rows, W.cols] times W's transpose, in float64.
template <typename X>
std::vector<double> product(const std::vector<X>& x, const GpuMatrix& W) {
  const std::int64_t K = W.view().cols, M = W.view().rows, rows = std::ssize(x) / K;
  std::vector<double> y;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < M; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < K; ++k) sum += as_double(x[i * K + k]) * W.values()[j * K + k];
      y.push_back(sum);
    }
  }
  return y;
}

}  // namespace mamba3::test
