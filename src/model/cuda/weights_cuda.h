// A checkpoint's tensors in a device's memory.
#pragma once

#include <cuda_runtime_api.h>

#include <map>
#include <string>

#include "core/cuda/runtime.h"
#include "model/checkpoint.h"
#include "ops/linear/cuda/matrix_cuda.h"

namespace mamba3::cuda {

/// Owns the weights of one model on one device, all in one piece of memory.
///
/// Matrices keep the file's type with `exact`; without it F32 and F16 become BF16, which the products take,
/// and quantized ones keep theirs. Those of Precision::exact, and all vectors, are float32.
class DeviceWeights {
 public:
  /// Uploads everything; done when it returns. Throws Error(out_of_memory) with what is needed and free.
  DeviceWeights(const Checkpoint& checkpoint, bool exact, cudaStream_t stream);

  const DeviceMatrix& matrix(const std::string& parameter) const { return matrices_.at(parameter); }
  /// Null when the model has no such parameter.
  const float* vector_or_null(const std::string& parameter) const;
  std::size_t bytes() const { return memory_.size(); }

 private:
  Memory memory_;
  std::map<std::string, DeviceMatrix> matrices_;
  std::map<std::string, const float*> vectors_;
};

}  // namespace mamba3::cuda
