// What a sequence and a single step do alike on the CPU before the heads part.
#pragma once

#include <cstdint>

#include "core/arena.h"
#include "core/threads.h"
#include "mixers/mamba3/kernels_cpu.h"
#include "mixers/mamba3/mamba3.h"

namespace mamba3::cpu {

/// Per token and head, made from the rows of `dynamics`.
struct Mamba3Dynamics {
  float *adt, *dt, *trap, *angle;

  Mamba3Dynamics(Arena& arena, const Mamba3Config& c, std::int64_t rows)
      : adt(arena.take<float>(rows * c.n_heads())),
        dt(arena.take<float>(rows * c.n_heads())),
        trap(arena.take<float>(rows * c.n_heads())),
        angle(arena.take<float>(rows * c.n_angles())) {}
};

/// Steps 1 and 2 for rows [begin, end) of dd_dt, dd_A, trap, angle.
void unpack_dynamics(const Mamba3Config& config, const float* dt_bias, const float* projected,
                     std::int64_t begin, std::int64_t end, const Mamba3Dynamics& out);

/// B and C of one row of in_proj, normed in place (step 3).
void norm_row(const Mamba3Config& config, const Mamba3Weights& weights, float* row);

Mamba3HeadWeights weights_of(const Mamba3Config& config, const Mamba3Weights& weights, std::int64_t head);

/// Scratch memory for every thread, taken before they part.
class HeadScratch {
 public:
  HeadScratch(Arena& arena, std::int64_t floats)
      : size_(padded(floats)), memory_(arena.take<float>(size_ * threads())) {}
  float* mine() const { return memory_ + size_ * thread_index(); }

 private:
  std::int64_t size_;
  float* memory_;
};

}  // namespace mamba3::cpu
