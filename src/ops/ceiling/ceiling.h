// What the machine can do at most, measured: figures of kernels are shares of these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "core/huge_memory.h"

namespace mamba3 {

/// Memory for reading at full speed, and the rate at which threads() threads read it.
class ReadProbe {
 public:
  /// A buffer of 384 MB, or of eight times the last-level cache when that is more, in huge pages where the
  /// system gives them. Throws Error(io) when there is no memory for it.
  ReadProbe();

  /// Reads all of it once. Bytes a second.
  double rate() const;
  std::int64_t bytes() const { return static_cast<std::int64_t>(memory_.size()); }

 private:
  HugeMemory memory_;
};

/// Sums of products that processors have instructions for: float32, pairs of bfloat16 into float32, fours of
/// int8 into int32.
enum class DotType { f32, bf16, int8 };

/// Operations a second (a multiplication and an addition are two) of threads() threads on values that stay in
/// registers, in about ten milliseconds. Nothing when the processor has no such instruction: bf16 and int8
/// need AVX512-BF16 and AVX512-VNNI. AMX, which is faster, is not measured.
std::optional<double> dot_rate(DotType type);

namespace cpu {

/// Loads every byte; the result depends on all of them, so that no load can be left out.
std::uint64_t read_all(std::span<const std::byte> bytes);

/// `rounds` rounds of independent sums in registers. Operations done; 0 when the processor lacks the
/// instruction.
std::int64_t dot_f32(std::int64_t rounds);
std::int64_t dot_bf16(std::int64_t rounds);
std::int64_t dot_int8(std::int64_t rounds);

}  // namespace cpu
}  // namespace mamba3
