// Any bytes as a torch.save file: an Error, or tensors whose every byte may be read. What does not begin as a
// zip archive is taken for the data.pkl of one, since no mutation would keep the archive around it valid.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "../tests/formats/file_bytes.h"
#include "formats/tensor_file.h"
#include "mamba3/error.h"
#include "touch.h"

namespace {

void parse(const std::string& file) {
  const auto bytes = mamba3::test::bytes_of(file);
  try {
    mamba3::fuzz::touch(mamba3::parse_torch(bytes, "fuzz"));
    mamba3::check_torch_sums(bytes, "fuzz");
  } catch (const mamba3::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with("PK")) {
    parse(input);
  } else {
    parse(mamba3::test::torch_file(input, {{"0", std::string(16, '\x3c')}, {"1", std::string(64, '\x3c')}}));
  }
  return 0;
}
