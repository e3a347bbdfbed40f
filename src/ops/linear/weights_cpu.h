// Stored weights to float32, and their products with single rows, by the best instruction set at hand.
#pragma once

#include <cstdint>

#include "ops/linear/linear.h"

namespace mamba3::cpu {

/// Rows [first, first + count) of W as float32: out [count, W.cols].
void decode_rows(const Matrix& W, std::int64_t first, std::int64_t count, float* out);

/// y[i, j] = sum_k x[i, k] W[j, k] for j in [first, last) and all `rows` rows of x; y [rows, W.rows].
void dot_rows(const Matrix& W, std::int64_t first, std::int64_t last, const float* x, std::int64_t rows,
              float* y);

}  // namespace mamba3::cpu
