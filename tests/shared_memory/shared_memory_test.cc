// Every shape that the kernels claim runs within 99 KB of shared memory, the most that a block may have on a
// card of compute capability 8.6: asked of the launchers themselves. This program is linked with CUDA's
// launches replaced (CMakeLists.txt: --wrap), so that it needs no GPU and nothing runs; a card with 99 KB is
// all they see. tools/check-shared-memory looks at what kernels take besides, statically.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>

#include "core/cuda/runtime.h"
#include "mixers/mamba3/cuda/inputs_cuda.h"
#include "mixers/mamba3/cuda/recurrent_cuda.h"
#include "mixers/mamba3/cuda/scan_cuda.h"
#include "mixers/mamba3/cuda/step_cuda.h"
#include "mixers/mamba3/mamba3.h"
#include "ops/linear/cuda/thin_cuda.h"

namespace {

constexpr std::size_t kMost = 99 << 10;

// What the launches since the last look asked for.
struct Launches {
  int count = 0;
  std::size_t largest = 0;

  void add(std::size_t bytes) {
    ++count;
    largest = std::max(largest, bytes);
  }
} launches;

}  // namespace

extern "C" {

cudaError_t __wrap_cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

cudaError_t __wrap_cudaGetLastError() {
  return cudaSuccess;
}

cudaError_t __wrap_cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t __wrap_cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = kMost;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = 100 << 10;
      return cudaSuccess;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = 1 << 10;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = 20;
      return cudaSuccess;
    default:
      return cudaErrorInvalidValue;
  }
}

cudaError_t __wrap_cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void*, void**) {
  launches.add(config->dynamicSmemBytes);
  return cudaSuccess;
}

// What kernel<<<...>>> calls first; anything but 0 keeps it from calling more.
unsigned __wrap___cudaPushCallConfiguration(dim3, dim3, std::size_t shared, CUstream_st*) {
  launches.add(shared);
  return 1;
}

}  // extern "C"

namespace mamba3::test {
namespace {

// Dynamic shared memory of everything that `launch` launches.
template <typename Launch>
void expect_small(const char* what, const Mamba3Config& c, const Launch& launch) {
  launches = {};
  launch();
  EXPECT_GT(launches.count, 0) << what;
  EXPECT_LE(launches.largest, kMost) << what << ": headdim " << c.headdim << ", d_state " << c.d_state
                                     << ", rank " << c.rank() << (c.is_mimo ? " (MIMO)" : " (SISO)");
}

// Published and odd sizes, from the smallest to the largest.
template <typename Body>
void each_mixer(const Body& body) {
  for (const std::int64_t headdim : {32, 64, 128}) {
    for (std::int64_t d_state = 16; d_state <= 256; d_state += 16) {
      for (std::int64_t rank = 0; rank <= 8; ++rank) {
        for (const bool normed : {false, true}) {
          body(Mamba3Config{.d_model = 8 * headdim,
                            .d_state = d_state,
                            .headdim = headdim,
                            .rope_fraction = 1,
                            .is_mimo = rank > 0,
                            .mimo_rank = std::max<std::int64_t>(rank, 1),
                            .is_outproj_norm = normed});
        }
      }
    }
  }
}

// An address that no launch follows.
template <typename T>
T* somewhere() {
  return reinterpret_cast<T*>(std::uintptr_t{1} << 20);
}

cuda::Mamba3Parameters weights_of(const Mamba3Config& c) {
  const auto* values = somewhere<const float>();
  const float* mimo = c.is_mimo ? values : nullptr;
  return {values, values, values, values, values,
          values, mimo,   mimo,   mimo,   c.is_outproj_norm ? values : nullptr};
}

TEST(SharedMemory, OfTheScan) {
  each_mixer([](const Mamba3Config& c) {
    ASSERT_EQ(cuda::scan_fits(c), c.headdim < 128 || !c.is_outproj_norm);
    if (!cuda::scan_fits(c)) return;  // the scan token by token takes it, see below
    const auto w = weights_of(c);
    for (const std::int64_t longest : {100, 100'000}) {  // in one piece, and in segments
      const cuda::ScanSequences sequences{.count = 1,
                                          .total = longest,
                                          .longest = longest,
                                          .cu_seqlens = nullptr,
                                          .states = nullptr,
                                          .state_offset = 0};
      expect_small("scan_forward", c,
                   [&] { cuda::scan_forward(c, {}, w, sequences, nullptr, nullptr, nullptr); });
    }
  });
}

template <typename Row>
void expect_small_rows(const Mamba3Config& c) {
  const Mamba3Layout layout(c, mamba3_chunk(c));
  ASSERT_TRUE(cuda::takes_shape(layout));
  ASSERT_TRUE(cuda::takes_recurrent(c));
  const auto w = weights_of(c);
  const cuda::Mamba3Sessions sessions{.batch = 3};
  expect_small("step_heads", c, [&] {
    cuda::step_heads<Row>(c, layout, w, sessions, 0, nullptr, nullptr, nullptr, false, nullptr);
  });
  expect_small("mamba3_recurrent", c,
               [&] { cuda::mamba3_recurrent<Row>(c, layout, w, {}, {.count = 2}, nullptr); });
  expect_small("mamba3_inputs", c,
               [&] { cuda::mamba3_inputs<Row>(c, {}, 5, nullptr, nullptr, {}, nullptr); });
  expect_small("fold_tails", c, [&] { cuda::fold_tails(layout, w.mimo_x, sessions, 0, nullptr); });
  expect_small("turn_back", c, [&] { cuda::turn_back(layout, sessions, 0, nullptr); });
}

TEST(SharedMemory, OfStepsAndOfTheExactScan) {
  each_mixer([](const Mamba3Config& c) {
    expect_small_rows<float>(c);
    expect_small_rows<__nv_bfloat16>(c);
  });
}

TEST(SharedMemory, OfThinProducts) {
  for (const DType type : {DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q4_0, DType::q4_1,
                           DType::q5_0, DType::q5_1, DType::q4_k, DType::q5_k, DType::q6_k}) {
    for (const std::int64_t cols : {256, 2048, 4096, 8192, 16'384}) {
      for (int rows = 1; rows <= cuda::kMostThinRows; ++rows) {
        launches = {};
        const cuda::DeviceMatrix W = cuda::matrix_at(type, 4096, cols, somewhere<const std::byte>());
        const cuda::ThinProduct product{.W = W, .gate = W, .y = somewhere<std::byte>()};
        cuda::thin_linear({.x = somewhere<const float>(), .gain = somewhere<const float>()}, {&product, 1},
                          rows, false, nullptr);
        EXPECT_GT(launches.count, 0);
        EXPECT_LE(launches.largest, kMost) << name_of(type) << ", " << cols << " inputs, " << rows << " rows";
      }
    }
  }
}

}  // namespace
}  // namespace mamba3::test
