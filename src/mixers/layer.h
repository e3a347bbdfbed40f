// What a model knows of a sequence-mixing layer besides its rows: its state.
#pragma once

#include <cstdint>

#include "core/aligned.h"
#include "ops/rows.h"

namespace mamba3 {

/// What one layer carries for one session: a checkpoint and a tail of `tail` tokens since then, in one block
/// of float32 whose layout is the mixer's own. Copying it forks the session.
struct LayerState {
  AlignedFloats values;
  std::int64_t tail = 0;
};

}  // namespace mamba3
