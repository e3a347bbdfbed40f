// The small parameters of a layer's heads, random, on both sides.
#pragma once

#include <vector>

#include "gpu/device_memory.h"
#include "mixers/mamba3/cuda/scan_cuda.h"
#include "mixers/mamba3/cuda/step_cuda.h"
#include "mixers/mamba3/mamba3.h"

namespace mamba3::test {

enum class Side { host, device };

class HeadWeights {
 public:
  HeadWeights(const Mamba3Config& c, cudaStream_t stream) {
    const std::int64_t H = c.n_heads(), N = c.d_state, RN = c.rank() * N, RP = c.rank() * c.headdim;
    const auto add = [&](std::int64_t count, double low, double high) {
      host_.push_back(uniform(host_.size(), count, low, high));
      device_.push_back(count > 0 ? on_device(host_.back(), stream) : cuda::Buffer<float>());
    };
    add(H, -6, -2);                                                  // dt_bias
    for (int i = 0; i < 2; ++i) add(H * RN, 0.5, 1.5);               // biases
    for (int i = 0; i < 2; ++i) add(N, 0.5, 1.5);                    // norms
    add(H, -1, 1);                                                   // D
    for (int i = 0; i < 3; ++i) add(c.is_mimo ? H * RP : 0, -1, 1);  // mimo_x, mimo_z, mimo_o
    add(c.is_outproj_norm ? c.d_inner() : 0, 0.5, 1.5);              // norm
  }

  cuda::Mamba3Parameters on(Side side) const {
    const auto at = [&](std::size_t i) { return values(i, side); };
    return {at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9)};
  }
  /// For entries of the CPU; without matrices.
  Mamba3Weights cpu() const {
    const auto at = [&](std::size_t i) { return values(i, Side::host); };
    return {{}, {}, {}, at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(8), at(9)};
  }

 private:
  const float* values(std::size_t i, Side side) const {
    if (host_[i].empty()) return nullptr;
    return side == Side::device ? device_[i].data() : host_[i].data();
  }

  std::vector<std::vector<float>> host_;
  std::vector<cuda::Buffer<float>> device_;
};

}  // namespace mamba3::test
