// The MLP of a layer: down(value * silu(gate)).
#pragma once

#include <cstdint>

#include "core/parameter.h"
#include "ops/linear/linear.h"

namespace mamba3 {

/// fc1 of the checkpoint in its two halves, and fc2. F is the width as stored.
struct MlpWeights {
  PackedMatrix up;    // [F, D]  value
  PackedMatrix gate;  // [F, D]
  PackedMatrix down;  // [D, F]
};

/// The MLP's rows of the table of parameters, names without the layer's prefix.
ParameterTable mlp_parameters(std::int64_t d_model, std::int64_t width);

/// x, out [rows, D], dense: tokens of a sequence or of a batch, each with bits of its own.
void mlp_forward(const Exec& exec, const MlpWeights& weights, const float* x, std::int64_t rows, float* out);

}  // namespace mamba3
