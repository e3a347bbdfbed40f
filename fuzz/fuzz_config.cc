// config.json of an official checkpoint.
#include <cstdint>
#include <string_view>

#include "mamba3/error.h"
#include "model/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto config = mamba3::parse_config({reinterpret_cast<const char*>(data), size}, "config.json");
    // What is accepted must survive being written and read again.
    mamba3::parse_config(mamba3::config_to_json(config), "written");
  } catch (const mamba3::Error&) {
  }
  return 0;
}
