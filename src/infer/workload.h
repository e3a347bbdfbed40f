// What a model asks of the machine for a token: bytes and operations, by counting its parameters.
#pragma once

#include <cstdint>

#include "model/checkpoint.h"

namespace mamba3 {

struct Workload {
  /// Bytes, as stored, of what one decode step reads once, whatever the batch: every parameter, but an
  /// embedding that is not the head (of which a step reads a row).
  std::int64_t weight_bytes = 0;
  /// The recurrent state of one session, h, k, x and theta in float32 over all layers. step_bytes counts it
  /// as read and written by each step, whatever is really done (a tail is folded into it now and then).
  std::int64_t state_bytes = 0;
  /// Operations of a prompt for each of its tokens: 2 for each weight of a matrix, and 4 H R N P a layer for
  /// the scan (outer product and read-out, a multiplication and an addition each), whatever is really done.
  std::int64_t token_operations = 0;
  /// Operations of the head, once a prompt.
  std::int64_t head_operations = 0;

  static Workload of(const Checkpoint& checkpoint);

  double step_bytes(std::int64_t batch) const {
    return static_cast<double>(weight_bytes) +
           2.0 * static_cast<double>(batch) * static_cast<double>(state_bytes);
  }
  double prompt_operations(std::int64_t tokens) const {
    return static_cast<double>(tokens) * static_cast<double>(token_operations) +
           static_cast<double>(head_operations);
  }
};

}  // namespace mamba3
