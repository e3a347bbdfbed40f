#include <algorithm>

#include "core/cuda/staging.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/linear/cuda/upload_cuda.h"

namespace mamba3::cuda {

void cross_entropy(const Exec&, const PackedMatrix& head, const float* hidden,
                   std::span<const std::int32_t> targets, double* nll) {
  Staging staging;
  const auto count = std::ssize(targets);
  auto* logits = staging.take<float>(std::min(count, kEntropyTokens) * std::min(head.rows, kEntropyRows));
  auto* running = staging.take<RunningEntropy>(count);
  auto* found = staging.take<double>(count);
  exact_cross_entropy(upload(staging, head), staging.upload(hidden, count * head.cols),
                      staging.upload(targets.data(), count), count, logits, running, found,
                      Staging::stream());
  staging.download(nll, found, count);
}

}  // namespace mamba3::cuda
