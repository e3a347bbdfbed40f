// Any bytes as a .safetensors file: an Error, or tensors whose every byte may be read.
#include <cstddef>
#include <cstdint>
#include <span>

#include "formats/tensor_file.h"
#include "mamba3/error.h"
#include "touch.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    mamba3::fuzz::touch(mamba3::parse_safetensors(std::as_bytes(std::span(data, size)), "fuzz"));
  } catch (const mamba3::Error&) {
  }
  return 0;
}
