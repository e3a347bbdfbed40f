#include "ops/embedding/embedding.h"

#include "ops/linear/pack.h"

namespace mamba3 {

void embedding(Device device, const PackedMatrix& table, std::span<const std::int32_t> ids, float* out) {
  device == Device::cuda ? cuda::embedding(table, ids, out) : cpu::embedding(table, ids, out);
}

void cpu::embedding(const PackedMatrix& table, std::span<const std::int32_t> ids, float* out) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    unpack_row(table, ids[i], out + static_cast<std::int64_t>(i) * table.cols);
  }
}

}  // namespace mamba3
