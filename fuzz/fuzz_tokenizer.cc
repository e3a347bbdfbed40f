// tokenizer.json up to the first NUL byte, then a text to encode and decode. Nothing but Error may come out,
// and what loads must load again from its spec and give the same.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mamba3/error.h"
#include "mamba3/tokenizer.h"
#include "tokenizer/spec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t nul = std::min(input.find('\0'), size);
  const std::string_view text = input.substr(std::min(nul + 1, size));
  try {
    const auto tokenizer = mamba3::Tokenizer::from_json(input.substr(0, nul), "tokenizer.json");
    const auto again = mamba3::Tokenizer::from_spec(tokenizer.spec(), "spec");
    const auto ids = tokenizer.encode(text);
    if (again.encode(text) != ids) std::abort();
    mamba3::TextStream stream(tokenizer, false);
    std::string streamed;
    for (const auto id : ids) streamed += stream.push(id);
    if (streamed + stream.finish() != tokenizer.decode(ids)) std::abort();
  } catch (const mamba3::Error&) {
  }
  return 0;
}
