#include <dnnl.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/error.h"
#include "core/threads.h"
#include "ops/linear/linear.h"
#include "ops/linear/weights_cpu.h"

namespace mamba3::cpu {
namespace {

// Output columns of one library product: with a block of 64 rows, 192 reach the library's rate
// (docs/numerics.md), and 192 decoded rows of a d_model of 1,024 fill three quarters of a 1 MB second-level
// cache.
constexpr std::int64_t kPanel = 192;

// Multiply-adds below which one thread is faster than waking the others: 2 microseconds at 10 per nanosecond.
constexpr std::int64_t kWorthSharing = 20'000;

// A row of weights as the library wants it: in place when it is float32 already, else decoded into `buffer`.
const float* panel_of(const Matrix& W, std::int64_t first, std::int64_t count, std::vector<float>& buffer) {
  const std::byte* stored = W.row(first);
  if (W.dtype == DType::f32 && reinterpret_cast<std::uintptr_t>(stored) % alignof(float) == 0) {
    return reinterpret_cast<const float*>(stored);
  }
  buffer.resize(static_cast<std::size_t>(std::max<std::int64_t>(count, kPanel) * W.cols));
  decode_rows(W, first, count, buffer.data());
  return buffer.data();
}

// oneDNN shares a product among OpenMP's threads; ours are busy already, each with a panel.
class LibraryOnOneThread {
 public:
  LibraryOnOneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~LibraryOnOneThread() { omp_set_num_threads(before_); }
  LibraryOnOneThread(const LibraryOnOneThread&) = delete;
  LibraryOnOneThread& operator=(const LibraryOnOneThread&) = delete;

 private:
  int before_;
};

}  // namespace

void linear(const Matrix& W, const float* x, std::int64_t rows, float* y) {
  const std::int64_t panels = (W.rows + kPanel - 1) / kPanel;
  // Each panel on one thread, and the library called by each alone: the bits do not depend on the number of
  // threads.
  parallel_each(panels, [&](std::int64_t panel) {
    thread_local std::vector<float> buffer;
    const LibraryOnOneThread alone;
    const std::int64_t first = panel * kPanel;
    const std::int64_t count = std::min(kPanel, W.rows - first);
    const float* weights = panel_of(W, first, count, buffer);
    for (std::int64_t row = 0; row < rows; row += kBlockRows) {
      const dnnl_status_t status =
          dnnl_sgemm('N', 'T', kBlockRows, count, W.cols, 1.0f, x + row * W.cols, W.cols, weights, W.cols,
                     0.0f, y + row * W.rows + first, W.rows);
      if (status != dnnl_success)
        fail(ErrorCode::internal, "oneDNN refused a product of {} x {}", count, W.cols);
    }
  });
}

void linear_step(const Matrix& W, const float* x, std::int64_t rows, float* y) {
  if (W.rows * W.cols < kWorthSharing) return dot_rows(W, 0, W.rows, x, rows, y);
  // Ranges of whole groups of four rows, which dot_rows takes together.
  constexpr std::int64_t kGrain = 16;
  const auto work = [&](std::int64_t first, std::int64_t last) { dot_rows(W, first, last, x, rows, y); };
  parallel_ranges(W.rows, work, kGrain);
}

}  // namespace mamba3::cpu
