#include "ops/embedding/embedding_cuda.h"
#include "core/cuda/staging.h"
#include "ops/embedding/embedding.h"
#include "ops/linear/cuda/upload_cuda.h"

namespace mamba3::cuda {

void embedding(const PackedMatrix& table, std::span<const std::int32_t> ids, float* out) {
  Staging staging;
  const auto count = std::ssize(ids);
  auto* rows = staging.take<float>(count * table.cols);
  embedding(upload(staging, table), staging.upload(ids.data(), count), count, rows, Staging::stream());
  staging.download(out, rows, count * table.cols);
}

}  // namespace mamba3::cuda
