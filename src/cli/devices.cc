#include "cli/devices.h"

#include <fmt/format.h>

#include "cli/output.h"
#include "core/device_info.h"
#include "infer/process.h"
#include "mamba3/model.h"

namespace mamba3::cli {
namespace {

// CUDA counts versions as 1000 major + 10 minor.
std::string version(int number) {
  return number == 0 ? "none" : fmt::format("{}.{}", number / 1000, number % 1000 / 10);
}

Json to_json(const CudaInfo& cuda) {
  Json devices = Json::array();
  for (const DeviceInfo& d : cuda.devices) {
    devices.push_back({{"device", fmt::format("cuda:{}", d.index)},
                       {"name", d.name},
                       {"compute_capability", fmt::format("{}.{}", d.major, d.minor)},
                       {"multiprocessors", d.multiprocessors},
                       {"memory_bytes", d.memory_total},
                       {"free_memory_bytes", d.memory_free},
                       {"shared_memory_bytes", d.shared_memory}});
  }
  return {{"cpu", {{"name", processor_name()}, {"threads", threads()}}},
          {"cuda", devices},
          {"cuda_missing", cuda.missing.empty() ? Json(nullptr) : Json(cuda.missing)},
          {"cuda_driver", version(cuda.driver_version)},
          {"cuda_runtime", version(cuda.runtime_version)}};
}

std::string to_text(const CudaInfo& cuda) {
  std::string text = fmt::format("{:<8} {}, {} threads\n", "cpu", processor_name(), threads());
  for (const DeviceInfo& d : cuda.devices) {
    text += fmt::format("{:<8} {}, compute capability {}.{}, {} multiprocessors, {} free of {}\n",
                        fmt::format("cuda:{}", d.index), d.name, d.major, d.minor, d.multiprocessors,
                        shown_bytes(static_cast<double>(d.memory_free)),
                        shown_bytes(static_cast<double>(d.memory_total)));
  }
  if (!cuda.missing.empty()) return text + fmt::format("{:<8} none: {}\n", "cuda", cuda.missing);
  return text + fmt::format("{:<8} driver for CUDA {}, built with CUDA {}\n", "",
                            version(cuda.driver_version), version(cuda.runtime_version));
}

}  // namespace

void print_devices(bool json) {
  const CudaInfo cuda = cuda::cuda_info();
  if (json) {
    print_json(to_json(cuda));
  } else {
    print(to_text(cuda));
  }
}

}  // namespace mamba3::cli
