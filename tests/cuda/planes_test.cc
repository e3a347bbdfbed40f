// Stored rows, their planes, and what is read from those.
#include "on_cuda.h"
#include "operations/table.h"
#include "ops/embedding/embedding_cuda.h"
#include "ops/linear/cuda/planes_cuda.h"

namespace mamba3::test {
namespace {

class CudaPlanes : public OnCuda {};

TEST_F(CudaPlanes, HoldRowsThatBeganAtAnyByteAndCameInPieces) {
  constexpr std::int64_t kRows = 37, kCols = 512;
  for (const DType type : linear_row().types) {
    SCOPED_TRACE(name_of(type));
    const Floats values = Draw(1)(kRows * kCols);
    std::vector<std::byte> stored(static_cast<std::size_t>(*bytes_of(type, kRows * kCols)));
    from_float(type, values.data(), kRows * kCols, stored.data());
    Floats expected(kRows * kCols);
    to_float(type, stored.data(), kRows * kCols, expected.data());
    const std::int64_t row_bytes = std::ssize(stored) / kRows;
    for (const std::int64_t offset : {0, 1, 2, 3, 7}) {
      std::vector<std::byte> shifted(static_cast<std::size_t>(offset));
      shifted.insert(shifted.end(), stored.begin(), stored.end());
      const std::byte* rows = up(shifted) + offset;
      auto* planes = unwritten_up<std::byte>(cuda::device_bytes(type, kRows, kCols));
      for (const auto& [first, count] : {std::pair{0, 5}, {5, 1}, {6, 31}}) {
        cuda::cut_planes(type, kRows, kCols, rows + first * row_bytes, first, count, planes, stream);
      }
      const cuda::DeviceMatrix W = cuda::matrix_at(type, kRows, kCols, planes);

      std::vector<std::int32_t> ids;
      for (std::int32_t id = 0; id < kRows; ++id) ids.push_back(id);
      auto* found = unwritten_up<float>(kRows * kCols);
      cuda::embedding(W, up(ids), kRows, found, stream);
      EXPECT_TRUE(same_bits(down(found, kRows * kCols), expected)) << "offset " << offset;

      constexpr std::int64_t kFirst = 3, kCount = (kRows - kFirst) * kCols;
      auto* dense = unwritten_up<std::uint16_t>(kCount + 1);
      cuda::unpack_bf16(W, kFirst, kRows - kFirst, reinterpret_cast<__nv_bfloat16*>(dense), stream);
      Bf16s bits = rounded({expected.begin() + kFirst * kCols, expected.end()});
      bits.push_back(0xffff);  // not written
      EXPECT_EQ(down(dense, kCount + 1), bits) << "offset " << offset;
    }
  }
}

}  // namespace
}  // namespace mamba3::test
