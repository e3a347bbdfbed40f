// Any bytes: a GGUF file is read, or refused with an Error.
#include "core/error.h"
#include "formats/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const mamba3::GgufFile gguf = mamba3::parse_gguf(std::as_bytes(std::span(data, size)), "input");
    unsigned sum = 0;
    for (const auto& [name, tensor] : gguf.file.tensors) {
      if (mamba3::bytes_of(tensor.dtype, tensor.elements()) != std::ssize(tensor.bytes)) __builtin_trap();
      for (const std::byte byte : tensor.bytes) sum += static_cast<unsigned>(byte);
    }
    for (const auto& [key, value] : gguf.metadata) {
      if (gguf.find(key) == nullptr) __builtin_trap();
      try {
        sum += static_cast<unsigned>(gguf.per_layer(key, 2).front());
        sum += static_cast<unsigned>(gguf.reals(key).size());
      } catch (const mamba3::Error&) {
      }
    }
    [[maybe_unused]] static volatile unsigned read_all;
    read_all = sum;
  } catch (const mamba3::Error&) {
  }
  return 0;
}
