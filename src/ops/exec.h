// Where an operation runs, and with what: handed down from the network to every operation.
#pragma once

#include <cstdint>

#include "core/arena.h"
#include "core/device.h"

namespace mamba3 {

struct PackedMatrix;

/// Sees what goes into the products of a model: for statistics of activations.
class LinearObserver {
 public:
  LinearObserver() = default;
  LinearObserver(const LinearObserver&) = delete;
  LinearObserver& operator=(const LinearObserver&) = delete;
  virtual ~LinearObserver() = default;
  /// x [rows, W.cols], dense; on the caller's thread, before the product is made.
  virtual void saw(const PackedMatrix& W, const float* x, std::int64_t rows) = 0;
};

/// Where to run and what scratch memory to use.
struct Exec {
  Device device = Device::cpu;
  Arena* arena = nullptr;
  LinearObserver* observer = nullptr;
};

}  // namespace mamba3
