#include "model/cuda/layers_cuda.h"

#include <fmt/format.h>

#include "ops/linear/cuda/split_cuda.h"

namespace mamba3::cuda {

NetworkLayers::NetworkLayers(const Checkpoint& checkpoint, bool exact, cudaStream_t stream)
    : config_(checkpoint.config),
      exact_(exact),
      layout_(config_.mixer, mamba3_chunk(config_.mixer)),
      weights_(checkpoint, exact, stream) {
  for (std::int64_t i = 0; i < config_.n_layer; ++i) {
    const std::string name = fmt::format("layers.{}.", i), mixer = name + "mixer.";
    const auto vector = [&](const char* part) { return weights_.vector_or_null(mixer + part); };
    NetworkLayer& layer = layers_.emplace_back();
    layer.norm = norm(name + "norm");
    layer.in_proj = weights_.matrix(mixer + "in_proj");
    layer.dynamics = weights_.matrix(mixer + "dynamics");
    layer.out_proj = weights_.matrix(mixer + "out_proj");
    layer.mixer = {.dt_bias = vector("dt_bias"),
                   .B_bias = vector("B_bias"),
                   .C_bias = vector("C_bias"),
                   .B_norm = vector("B_norm"),
                   .C_norm = vector("C_norm"),
                   .D = vector("D"),
                   .mimo_x = vector("mimo_x"),
                   .mimo_z = vector("mimo_z"),
                   .mimo_o = vector("mimo_o"),
                   .norm = vector("norm")};
    if (!config_.has_mlp()) continue;
    layer.norm2 = norm(name + "norm2");
    layer.up = weights_.matrix(name + "mlp.up");
    layer.gate = weights_.matrix(name + "mlp.gate");
    layer.down = weights_.matrix(name + "mlp.down");
  }
  embedding_ = weights_.matrix("embedding");
  head_ = config_.tie_embeddings ? embedding_ : weights_.matrix("head");
  norm_f_ = norm("norm_f");
  if (!exact) split_dynamics(stream);
}

NormWeights NetworkLayers::norm(const std::string& name) const {
  return {weights_.vector_or_null(name + ".weight"), weights_.vector_or_null(name + ".bias"),
          config_.d_model};
}

void NetworkLayers::split_dynamics(cudaStream_t stream) {
  const std::int64_t rows = config_.mixer.dynamics_rows(), D = config_.d_model;
  const std::int64_t size = rows * split_length(D);
  parts_ = Buffer<__nv_bfloat16>(config_.n_layer * size);
  __nv_bfloat16* parts = parts_.data();
  for (NetworkLayer& layer : layers_) {
    split_weights(reinterpret_cast<const float*>(layer.dynamics.planes[0]), rows, D, parts, stream);
    layer.dynamics_parts = parts;
    parts += size;
  }
}

}  // namespace mamba3::cuda
