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

// Most output columns of one library product: with a block of 64 rows, 416 come within a twentieth of the
// library's best rate (docs/numerics.md), and their decoded weights still fit the second-level cache up to a
// d_model of 600.
constexpr std::int64_t kWidestPanel = 416;
// Columns of a panel are whole vectors of the library's kernels (three of AVX-512), but for the last panel.
constexpr std::int64_t kPanelGrain = 48;

// An even number of panels, which two threads share without a rest. It follows from the columns alone: the
// library's bits may depend on the width, and they shall not depend on the number of threads.
std::int64_t panel_width(std::int64_t columns) {
  const std::int64_t panels = 2 * ((columns + 2 * kWidestPanel - 1) / (2 * kWidestPanel));
  return ((columns + panels - 1) / panels + kPanelGrain - 1) / kPanelGrain * kPanelGrain;
}

// Multiply-adds below which one thread is faster than waking the others: 2 microseconds at 10 per nanosecond.
constexpr std::int64_t kWorthSharing = 20'000;

// A row of weights as the library wants it: in place when it is float32 already, else decoded into `buffer`.
const float* panel_of(const Matrix& W, std::int64_t first, std::int64_t count, std::vector<float>& buffer) {
  const std::byte* stored = W.row(first);
  if (W.dtype == DType::f32 && reinterpret_cast<std::uintptr_t>(stored) % alignof(float) == 0) {
    return reinterpret_cast<const float*>(stored);
  }
  buffer.resize(static_cast<std::size_t>(count * W.cols));
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
  const std::int64_t width = panel_width(W.rows), panels = (W.rows + width - 1) / width;
  // Each panel on one thread, and the library called by each alone: the bits do not depend on the number of
  // threads.
  parallel_each(panels, [&](std::int64_t panel) {
    thread_local std::vector<float> buffer;
    const LibraryOnOneThread alone;
    const std::int64_t first = panel * width, count = std::min(width, W.rows - first);
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
