#include "ops/embedding/embedding.h"

#include "ops/linear/weights_cpu.h"

namespace mamba3 {

void embedding(Device device, const Matrix& table, std::span<const std::int32_t> ids, float* out) {
  device == Device::cuda ? cuda::embedding(table, ids, out) : cpu::embedding(table, ids, out);
}

void cpu::embedding(const Matrix& table, std::span<const std::int32_t> ids, float* out) {
  for (std::size_t i = 0; i < ids.size(); ++i) {
    cpu::decode_rows(table, ids[i], 1, out + static_cast<std::int64_t>(i) * table.cols);
  }
}

}  // namespace mamba3
