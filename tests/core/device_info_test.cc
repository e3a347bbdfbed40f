#include "core/device_info.h"

#include <gtest/gtest.h>

#include <string>

#include "mamba3/error.h"

namespace mamba3 {
namespace {

TEST(DeviceInfo, ReadsTheWordsForADevice) {
  EXPECT_EQ(parse_device("cpu"), (DeviceChoice{Device::cpu, 0}));
  EXPECT_EQ(parse_device("cuda"), (DeviceChoice{Device::cuda, 0}));
  EXPECT_EQ(parse_device("cuda:0"), (DeviceChoice{Device::cuda, 0}));
  EXPECT_EQ(parse_device("cuda:11"), (DeviceChoice{Device::cuda, 11}));
}

TEST(DeviceInfo, NamesWhatItExpected) {
  for (const char* text :
       {"", "gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999", "cuda 1"}) {
    try {
      parse_device(text);
      ADD_FAILURE() << text << " was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << text;
      EXPECT_NE(std::string(error.what()).find("expected cpu, cuda or cuda:N"), std::string::npos)
          << error.what();
    }
  }
}

TEST(DeviceInfo, SaysWhatIsMissing) {
  const CudaInfo info = cuda::cuda_info();
  EXPECT_EQ(info.devices.empty(), !info.missing.empty());
  check_device({Device::cpu, 0});
  const int absent = static_cast<int>(info.devices.size());
  try {
    check_device({Device::cuda, absent});
    ADD_FAILURE() << "cuda:" << absent << " was found";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::device);
    EXPECT_NE(std::string(error.what()).find("cuda:" + std::to_string(absent)), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace mamba3
