// The MLP of a layer: down(value * silu(gate)).
#pragma once

#include <cstdint>

#include "core/parameter.h"
#include "ops/linear/linear.h"
#include "ops/rows.h"

namespace mamba3 {

/// fc1 of the checkpoint in its two halves, and fc2. F is the width as stored.
struct MlpWeights {
  Matrix up;    // [F, D]  value
  Matrix gate;  // [F, D]
  Matrix down;  // [D, F]
};

/// The MLP's rows of the table of parameters, names without the layer's prefix.
ParameterTable mlp_parameters(std::int64_t d_model, std::int64_t width);

/// x [window.rows, D] to out [window.rows, D]; rows without a token hold anything.
void mlp_forward(const Exec& exec, const MlpWeights& weights, const RowWindow& window, const float* x,
                 float* out);

/// Single tokens: x, out [rows, D].
void mlp_step(const Exec& exec, const MlpWeights& weights, const float* x, std::int64_t rows, float* out);

}  // namespace mamba3
