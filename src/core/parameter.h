// One row of the table of parameters: everything that loading, saving, converting and initialising need to
// know.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace mamba3 {

/// How a parameter may be stored.
enum class Precision {
  weight,  ///< a matrix of products: any float type, quantized ones too
  exact,   ///< small, or compounding along the sequence: float32 in our own files
};

/// How seeded random weights are drawn (and how training starts).
enum class Init { ones, zeros, embedding, fan_in, residual_out, dt_bias, one_over_rank };

struct Parameter {
  std::string name;  ///< "layers.3.mixer.in_proj"
  std::string axes;  ///< names of the axes, "zxBC d_model"
  Shape shape;
  Precision precision = Precision::exact;
  Init init = Init::ones;
  bool weight_decay = false;
  std::string official;           ///< tensor of the official checkpoint ...
  std::int64_t official_row = 0;  ///< ... and the first of its rows that belongs here
  std::string gguf;               ///< tensor of our GGUF files
};

using ParameterTable = std::vector<Parameter>;

}  // namespace mamba3
