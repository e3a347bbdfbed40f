// A golden: named inputs and the outputs they must give. Format: tests/fixtures/README.md.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "formats/tensor_file.h"
#include "mixers/mamba3/config.h"
#include "model/checkpoint.h"

namespace mamba3::selftest {

/// Float32 values and integers are exact in float64.
struct Array {
  Shape shape;
  std::vector<double> values;
};
using Arrays = std::map<std::string, Array>;

/// Everything but gradients, which no implementation computes yet: grad.*, state_grad.*, d_* are not read.
struct Golden {
  std::string name;                         ///< the file's path, or the case's name
  std::string kind;                         ///< "mixer", "scan", "step" or "model"
  Mamba3Config config;                      ///< all kinds but "model"
  std::string checkpoint;                   ///< kind "model": path relative to the golden's folder ...
  std::shared_ptr<const Checkpoint> model;  ///< ... or the checkpoint itself
  Arrays tensors;

  bool has(const std::string& tensor) const { return tensors.count(tensor) > 0; }
  /// Throws Error(bad_format) when the tensor is missing.
  const Array& at(const std::string& tensor) const;
  /// The values of a tensor that must have this shape. Throws Error(bad_format).
  const std::vector<double>& values(const std::string& tensor, const Shape& shape) const;
};

/// Throws Error(bad_format) naming the file and what is wrong.
Golden read_golden(const TensorFile& file);

}  // namespace mamba3::selftest
