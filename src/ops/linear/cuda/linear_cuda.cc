#include "ops/linear/linear.h"

#include <vector>

#include "ops/linear/cuda/exact_cuda.h"
#include "ops/linear/cuda/planes_cuda.h"
#include "ops/linear/cuda/upload_cuda.h"
#include "ops/linear/pack.h"

namespace mamba3::cuda {

DeviceMatrix upload(Staging& staging, const PackedMatrix& W) {
  const std::int64_t row_bytes = Matrix{W.dtype, W.rows, W.cols}.row_bytes();
  std::vector<std::byte> stored, row;
  for (std::int64_t i = 0; i < W.rows; ++i) {
    unpack_stored(W, i, row);
    stored.insert(stored.end(), row.begin(), row.begin() + row_bytes);
  }
  auto* planes = staging.take<std::byte>(device_bytes(W.dtype, W.rows, W.cols));
  const std::byte* rows = staging.upload(stored.data(), std::ssize(stored));
  cut_planes(W.dtype, W.rows, W.cols, rows, 0, W.rows, planes, Staging::stream());
  return matrix_at(W.dtype, W.rows, W.cols, planes);
}

void linear(Arena&, std::span<const Product> products, const float* x, std::int64_t rows) {
  Staging staging;
  const float* input = staging.upload(x, rows * products.front().W->cols);
  for (const auto& [W, y] : products) {
    const std::int64_t size = rows * W->rows;
    float* sums = staging.take<float>(size);
    exact_linear(upload(staging, *W), input, rows, sums, /*add=*/false, Staging::stream());
    staging.download(y, sums, size);
  }
}

}  // namespace mamba3::cuda
