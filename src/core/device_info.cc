#include "core/device_info.h"

#include <charconv>

#include "core/error.h"

namespace mamba3 {

DeviceChoice parse_device(std::string_view text) {
  if (text == "cpu") return {Device::cpu, 0};
  if (text == "cuda") return {Device::cuda, 0};
  constexpr std::string_view kPrefix = "cuda:";
  if (text.starts_with(kPrefix)) {
    DeviceChoice choice{Device::cuda, 0};
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + kPrefix.size(), end, choice.index);
    if (error == std::errc() && stop == end && choice.index >= 0) return choice;
  }
  fail(ErrorCode::invalid_argument, "device is '{}', expected cpu, cuda or cuda:N with N from 0", text);
}

void check_device(const DeviceChoice& choice) {
  if (choice.device == Device::cpu) return;
  const CudaInfo info = cuda::cuda_info();
  if (info.devices.empty()) fail(ErrorCode::device, "device cuda:{}: {}", choice.index, info.missing);
  const int count = static_cast<int>(info.devices.size());
  if (choice.index >= count) {
    fail(ErrorCode::device, "device cuda:{}: this machine has {} CUDA device{}, expected cuda:0{}",
         choice.index, count, count == 1 ? "" : "s", count == 1 ? "" : fmt::format(" to cuda:{}", count - 1));
  }
}

}  // namespace mamba3
