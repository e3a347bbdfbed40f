// Rows of activations over absolute positions, and where to work on them: what every layer is given.
#pragma once

#include <cstdint>

#include "core/arena.h"
#include "core/device.h"
#include "ops/linear/linear.h"

namespace mamba3 {

/// Activations of consecutive tokens, laid over absolute positions: row i stands for position `position + i`,
/// `position` is a multiple of kBlockRows, `rows` too. Rows [begin, end) hold tokens, the others hold
/// anything.
struct RowWindow {
  std::int64_t position = 0;
  std::int64_t rows = 0;
  std::int64_t begin = 0;
  std::int64_t end = 0;

  std::int64_t tokens() const { return end - begin; }

  /// The window of `tokens` tokens that start at absolute position `first`.
  static RowWindow of(std::int64_t first, std::int64_t tokens) {
    const auto start = first / kBlockRows * kBlockRows;
    const auto end = first - start + tokens;
    return {start, (end + kBlockRows - 1) / kBlockRows * kBlockRows, first - start, end};
  }
};

/// Where to run and what scratch memory to use.
struct Exec {
  Device device = Device::cpu;
  Arena* arena = nullptr;
  LinearObserver* observer = nullptr;  ///< sees the inputs of a prefill of whole blocks
};

/// linear() (ops/linear/linear.h) where `exec` says.
void linear(const Exec& exec, const Matrix& W, const float* x, std::int64_t rows, float* y);

}  // namespace mamba3
