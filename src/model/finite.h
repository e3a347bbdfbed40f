// Are a tensor's values numbers?
#pragma once

#include "formats/tensor_file.h"

namespace mamba3 {

/// Reads every value of a file's tensors of float types. Throws Error(numeric) naming the first tensor that
/// holds NaN or infinity, and where.
void check_finite(const TensorFile& file);

}  // namespace mamba3
