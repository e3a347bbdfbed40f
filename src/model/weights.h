// A checkpoint's tensors as the layers take them: matrices packed, vectors as float32.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "core/aligned.h"
#include "core/huge_memory.h"
#include "model/checkpoint.h"
#include "ops/linear/linear.h"

namespace mamba3 {

/// Owns the matrices that it packs, and the vectors. Matrices that lie packed in the checkpoint are used
/// where they lie: the checkpoint must outlive this.
class Weights {
 public:
  /// Packs every matrix of the checkpoint. `exact`: activations stay float32 in all products, not only in
  /// those of Precision::exact. Pages of a mapped file are given back as soon as they are packed, so memory
  /// does not hold a matrix twice.
  Weights(const Checkpoint& checkpoint, bool exact);

  /// The matrix of a parameter of two axes and Precision::weight, or of products of Precision::exact.
  const PackedMatrix& matrix(const std::string& parameter) const { return matrices_.at(parameter); }
  /// A parameter's values as float32; null when the model has no such parameter.
  const float* vector_or_null(const std::string& parameter);
  const float* vector(const std::string& parameter);

 private:
  const Checkpoint& checkpoint_;
  HugeMemory memory_;
  std::map<std::string, PackedMatrix> matrices_;
  std::vector<AlignedFloats> vectors_;
};

}  // namespace mamba3
