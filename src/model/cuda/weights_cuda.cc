#include "model/cuda/weights_cuda.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/mapped_file.h"
#include "core/threads.h"
#include "model/rows.h"
#include "ops/linear/cuda/planes_cuda.h"

namespace mamba3::cuda {
namespace {

// Bytes that travel at a time: long enough that a transfer runs at the bus's rate (from about 4 MB on), short
// enough that the threads fill one piece while another is on its way.
constexpr std::size_t kPiece = std::size_t{16} << 20;

DType device_type(const Parameter& parameter, DType stored, bool exact) {
  if (parameter.shape.size() != 2 || parameter.precision == Precision::exact || stored == DType::f64)
    return DType::f32;
  return exact || is_quantized(stored) ? stored : DType::bf16;
}

struct Extent {
  std::int64_t rows, cols;
};

// A vector, or the ranks of MIMO, is one row.
Extent extent_of(const Parameter& parameter, const TensorView& tensor) {
  if (parameter.shape.size() == 2) return {parameter.shape[0], parameter.shape[1]};
  return {1, tensor.elements()};
}

void require_memory(const Checkpoint& checkpoint, std::size_t bytes) {
  std::size_t available = 0, total = 0;
  check(cudaMemGetInfo(&available, &total), "asking for the free memory");
  if (bytes <= available) return;
  fail(ErrorCode::out_of_memory, "{}: the weights take {:.2f} GB, the device has {:.2f} of {:.2f} GB free",
       checkpoint.name, 1e-9 * static_cast<double>(bytes), 1e-9 * static_cast<double>(available),
       1e-9 * static_cast<double>(total));
}

// Sends tensors piece by piece: the threads fill one buffer while the other travels.
class Uploader {
 public:
  explicit Uploader(cudaStream_t stream) : stream_(stream) {}

  void send(const TensorView& tensor, DType type, const Extent& extent, std::byte* to) {
    const StoredRows rows(tensor);
    const std::int64_t count = extent.rows * extent.cols / rows.width(),
                       bytes = *bytes_of(type, rows.width());
    const auto most = std::max<std::int64_t>(1, static_cast<std::int64_t>(kPiece) / bytes);
    for (std::int64_t first = 0; first < count; first += most) {
      const std::int64_t now = std::min(most, count - first);
      Slot& slot = next_slot(static_cast<std::size_t>(now * bytes));
      fill(rows, tensor.dtype, type, first, now, slot.pinned.data());
      const auto size = static_cast<std::size_t>(now * bytes);
      std::byte* direct = is_quantized(type) ? slot.device.data() : to + first * bytes;
      check(cudaMemcpyAsync(direct, slot.pinned.data(), size, cudaMemcpyHostToDevice, stream_),
            "copying weights to the device");
      if (is_quantized(type)) cut_planes(type, count, rows.width(), direct, first, now, to, stream_);
      slot.sent.record(stream_);
      slot.busy = true;
    }
  }

 private:
  struct Slot {
    PinnedMemory pinned;
    Memory device;  // a piece of a quantized matrix on its way into planes
    std::size_t size = 0;
    Event sent;
    bool busy = false;
  };

  Slot& next_slot(std::size_t bytes) {
    Slot& slot = slots_[turn_++ % slots_.size()];
    if (slot.busy) slot.sent.synchronize();
    slot.busy = false;
    if (slot.size < bytes) {
      slot.size = std::max(bytes, kPiece);
      slot.pinned = PinnedMemory(slot.size);
      slot.device = Memory(slot.size);
    }
    return slot;
  }

  static void fill(const StoredRows& rows, DType stored, DType type, std::int64_t first, std::int64_t count,
                   std::byte* to) {
    const std::int64_t bytes = *bytes_of(type, rows.width());
    parallel_ranges(count, [&](std::int64_t from, std::int64_t end) {
      std::vector<std::byte> memory;
      std::vector<float> values(static_cast<std::size_t>(rows.width()));
      for (std::int64_t i = from; i < end; ++i) {
        const std::byte* row = rows.row(first + i, memory);
        if (stored == type) {
          std::memcpy(to + i * bytes, row, static_cast<std::size_t>(bytes));
        } else {
          to_float(stored, row, rows.width(), values.data());
          from_float(type, values.data(), rows.width(), to + i * bytes);
        }
      }
    });
  }

  cudaStream_t stream_;
  std::array<Slot, 2> slots_;
  std::size_t turn_ = 0;
};

}  // namespace

DeviceWeights::DeviceWeights(const Checkpoint& checkpoint, bool exact, cudaStream_t stream) {
  const auto each = [&](const auto& work) {
    for (const Parameter& p : checkpoint.parameters) {
      const auto found = checkpoint.tensors.find(p.name);
      if (found == checkpoint.tensors.end()) continue;
      const TensorView& tensor = found->second;
      work(p, tensor, device_type(p, tensor.dtype, exact), extent_of(p, tensor));
    }
  };
  std::int64_t total = 0;
  each([&](const Parameter&, const TensorView&, DType type, const Extent& e) {
    total += device_bytes(type, e.rows, e.cols);
  });
  require_memory(checkpoint, static_cast<std::size_t>(total));
  memory_ = Memory(static_cast<std::size_t>(total));
  std::byte* place = memory_.data();
  Uploader uploader(stream);
  each([&](const Parameter& p, const TensorView& tensor, DType type, const Extent& e) {
    uploader.send(tensor, type, e, place);
    if (p.shape.size() == 2) {
      matrices_[p.name] = matrix_at(type, e.rows, e.cols, place);
    } else {
      vectors_[p.name] = reinterpret_cast<const float*>(place);
    }
    place += device_bytes(type, e.rows, e.cols);
    give_back_pages(tensor.bytes);
  });
  check(cudaStreamSynchronize(stream), "copying weights to the device");
}

const float* DeviceWeights::vector_or_null(const std::string& parameter) const {
  const auto found = vectors_.find(parameter);
  return found == vectors_.end() ? nullptr : found->second;
}

}  // namespace mamba3::cuda
