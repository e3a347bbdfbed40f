// Rows of the embedding table.
#pragma once

#include <cstdint>
#include <span>

#include "core/device.h"
#include "ops/linear/linear.h"

namespace mamba3 {

/// out [ids.size(), table.cols] in float32. Precondition: every id is a row of the table.
void embedding(Device device, const PackedMatrix& table, std::span<const std::int32_t> ids, float* out);

namespace cpu {
void embedding(const PackedMatrix& table, std::span<const std::int32_t> ids, float* out);
}
namespace cuda {
void embedding(const PackedMatrix& table, std::span<const std::int32_t> ids, float* out);
}

}  // namespace mamba3
