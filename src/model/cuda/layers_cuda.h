// A network's weights on a device, as its kernels take them.
#pragma once

#include <cuda_bf16.h>

#include <vector>

#include "mixers/mamba3/cuda/parameters_cuda.h"
#include "mixers/mamba3/layout.h"
#include "mixers/mamba3/mamba3.h"
#include "model/cuda/weights_cuda.h"
#include "ops/norm/norm.h"

namespace mamba3::cuda {

struct NetworkLayer {
  NormWeights norm;
  DeviceMatrix in_proj;   // [2E + 2RGN, D]
  DeviceMatrix dynamics;  // [3H + S, D] float32
  DeviceMatrix out_proj;  // [D, E]
  Mamba3Parameters mixer;
  NormWeights norm2;
  DeviceMatrix up, gate;  // [F, D]
  DeviceMatrix down;      // [D, F]
  /// `dynamics` in parts for tensor cores (ops/linear/cuda/split_cuda.h); null when exact.
  const __nv_bfloat16* dynamics_parts = nullptr;
};

/// All pointers are the device's.
class NetworkLayers {
 public:
  NetworkLayers(const Checkpoint& checkpoint, bool exact, cudaStream_t stream);

  const ModelConfig& config() const { return config_; }
  const Mamba3Config& mixer() const { return config_.mixer; }
  const Mamba3Layout& layout() const { return layout_; }
  const std::vector<NetworkLayer>& all() const { return layers_; }
  const DeviceMatrix& embedding() const { return embedding_; }
  const DeviceMatrix& head() const { return head_; }
  const NormWeights& norm_f() const { return norm_f_; }
  bool exact() const { return exact_; }

 private:
  NormWeights norm(const std::string& name) const;
  void split_dynamics(cudaStream_t stream);

  const ModelConfig& config_;
  bool exact_;
  Mamba3Layout layout_;
  DeviceWeights weights_;
  Buffer<__nv_bfloat16> parts_;
  std::vector<NetworkLayer> layers_;
  DeviceMatrix embedding_, head_;
  NormWeights norm_f_;
};

}  // namespace mamba3::cuda
