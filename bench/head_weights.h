// The small parameters of a layer's heads, random, on both sides.
#pragma once

#include <vector>

#include "bench/rows.h"
#include "mixers/mamba3/scan_cuda.h"
#include "mixers/mamba3/step_cuda.h"

namespace mamba3::bench {

class HeadWeights {
 public:
  HeadWeights(const Mamba3Config& c, cudaStream_t stream) {
    const std::int64_t H = c.n_heads(), N = c.d_state, RN = c.rank() * N, RP = c.rank() * c.headdim;
    const auto add = [&](std::int64_t count, double low, double high) {
      host_.push_back(uniform(host_.size(), count, low, high));
      device_.push_back(on_device(host_.back(), stream));
    };
    add(H, -6, -2);                                     // dt_bias
    for (int i = 0; i < 2; ++i) add(H * RN, 0.5, 1.5);  // biases
    for (int i = 0; i < 2; ++i) add(N, 0.5, 1.5);       // norms
    add(H, -1, 1);                                      // D
    if (!c.is_mimo) return;
    for (int i = 0; i < 3; ++i) add(H * RP, -0.5, 0.5);
  }

  cuda::Mamba3StepWeights step(bool device) const {
    const auto at = [&](std::size_t i) { return values(i, device); };
    return {at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8)};
  }
  cuda::ScanParameters scan(bool device) const {
    const auto at = [&](std::size_t i) { return values(i, device); };
    return {at(1), at(2), at(5), at(6), at(7), at(8), nullptr};
  }

 private:
  const float* values(std::size_t i, bool device) const {
    if (i >= host_.size()) return nullptr;
    return device ? device_[i].data() : host_[i].data();
  }

  std::vector<std::vector<float>> host_;
  std::vector<cuda::Buffer<float>> device_;
};

}  // namespace mamba3::bench
