#include "ops/ceiling/ceiling_cuda.h"

#include <algorithm>
#include <vector>

#include "core/cuda/runtime.h"
#include "ops/ceiling/probes_cuda.h"
#include "ops/linear/cuda/gemm_cuda.h"

namespace mamba3::cuda {
namespace {

std::size_t probe_bytes() {
  std::size_t available = 0, total = 0;
  check(cudaMemGetInfo(&available, &total), "asking for the free memory");
  return std::min(std::size_t{2} << 30, total / 16) / kReadUnit * kReadUnit;
}

// Seconds of `work`, the median.
template <typename Work>
double median_seconds(const Stream& stream, const Work& work) {
  constexpr int kTimes = 20, kWarm = 50;  // an idle device takes some ten milliseconds to reach its clock
  std::vector<float> times;
  Event start, end;
  for (int i = 0; i < kWarm + kTimes; ++i) {
    start.record(stream.get());
    work();
    end.record(stream.get());
    end.synchronize();
    if (i >= kWarm) times.push_back(end.since(start));
  }
  std::nth_element(times.begin(), times.begin() + kTimes / 2, times.end());
  return 1e-3 * times[kTimes / 2];
}

}  // namespace

double copy_bandwidth() {
  const Stream stream;
  const std::size_t bytes = probe_bytes();
  const Memory from(bytes), to(bytes);
  check(cudaMemsetAsync(from.data(), 0x5a, bytes, stream.get()), "filling memory");
  const double seconds = median_seconds(stream, [&] {
    check(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, stream.get()), "a copy");
  });
  return 2 * static_cast<double>(bytes) / seconds;
}

double read_bandwidth() {
  const Stream stream;
  const std::size_t bytes = probe_bytes();
  const Memory from(bytes);
  const Buffer<std::uint32_t> sink(1);
  check(cudaMemsetAsync(from.data(), 0x5a, bytes, stream.get()), "filling memory");
  const double seconds =
      median_seconds(stream, [&] { read_all(from.data(), bytes, sink.data(), stream.get()); });
  return static_cast<double>(bytes) / seconds;
}

double bf16_matrix_rate() {
  constexpr std::int64_t kSize = 8192;
  const Stream stream;
  const Buffer<__nv_bfloat16> a(kSize * kSize), b(kSize * kSize), c(kSize * kSize);
  const Memory workspace(kGemmWorkspace);
  fill_random(a.data(), a.size(), 1, stream.get());
  fill_random(b.data(), b.size(), 2, stream.get());
  Gemm gemm(workspace.data());
  const GemmShape shape{.rows = kSize, .outputs = kSize, .inputs = kSize};
  const double seconds =
      median_seconds(stream, [&] { gemm.run(shape, a.data(), b.data(), c.data(), stream.get()); });
  return 2.0 * kSize * kSize * kSize / seconds;
}

}  // namespace mamba3::cuda
