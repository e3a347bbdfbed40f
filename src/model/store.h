// Putting a Checkpoint's tensors into a file as other types.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <vector>

#include "formats/gguf.h"
#include "model/checkpoint.h"

namespace mamba3 {

/// Fills `to` with `from` as `type`, whose blocks divide its rows, on all threads; bytes are copied when the
/// type stays. `importance`: null, or a weight for each column of a matrix (core/dtype.h). The result does
/// not depend on the threads. Throws Error(numeric) for values that the type cannot hold.
void store_tensor(const TensorView& from, DType type, const float* importance, std::span<std::byte> to);

/// sum (b - a)^2 and sum a^2 over the values of two tensors of one shape; the same for any number of threads.
struct SquaredError {
  double error = 0, total = 0;

  double relative_rms() const;  ///< 0 when a is zero
};
SquaredError squared_error(const TensorView& a, const TensorView& b);

/// Writes a .gguf with all that is known of the model, parameter i of the table as types[i]. `fill` is asked
/// for one parameter's bytes at a time. `more` goes behind the other metadata. Atomic.
void write_model_gguf(const Checkpoint& checkpoint, const std::filesystem::path& path,
                      std::uint32_t file_type, const std::vector<DType>& types, const GgufMetadata& more,
                      const FillTensor& fill);

}  // namespace mamba3
