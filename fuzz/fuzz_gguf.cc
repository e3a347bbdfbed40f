// Any bytes: a GGUF file is read, or refused with an Error.
#include <cstdint>
#include <span>

#include "core/error.h"
#include "formats/gguf.h"
#include "touch.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const mamba3::GgufFile gguf = mamba3::parse_gguf(std::as_bytes(std::span(data, size)), "input");
    mamba3::fuzz::touch(gguf.file);
    for (const auto& entry : gguf.metadata) {
      try {
        gguf.per_layer(entry.first, 2);
        gguf.reals(entry.first);
      } catch (const mamba3::Error&) {
      }
    }
  } catch (const mamba3::Error&) {
  }
  return 0;
}
