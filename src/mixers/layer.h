// What a model knows of a sequence-mixing layer: its rows, its state, and where it runs.
#pragma once

#include <cstdint>

#include "core/aligned.h"
#include "core/arena.h"
#include "core/device.h"
#include "ops/linear/linear.h"

namespace mamba3 {

/// Activations of consecutive tokens, laid over absolute positions: row i stands for position `position + i`,
/// `position` is a multiple of kBlockRows, `rows` too. Rows [begin, end) hold tokens, the others hold anything.
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
};

/// What one layer carries for one session: a checkpoint and a tail of `tail` tokens since then, in one block of
/// float32 whose layout is the mixer's own. Copying it forks the session.
struct LayerState {
  AlignedFloats values;
  std::int64_t tail = 0;
};

}  // namespace mamba3
