// Are a tensor's values numbers?
#pragma once

#include "formats/tensor_file.h"
#include "model/checkpoint.h"

namespace mamba3 {

/// Reads every value of a file's tensors of float types. Throws Error(numeric) naming the first tensor that
/// holds NaN or infinity, and where.
void check_finite(const TensorFile& file);
/// The same for a model, with the names that its format has.
void check_finite(const Checkpoint& checkpoint);

}  // namespace mamba3
