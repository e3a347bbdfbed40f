// Session states. The checksum is made right first, so that what lies behind it is reached.
#include <xxhash.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "infer/state_file.h"
#include "mamba3/error.h"

namespace {

const mamba3::Network& network() {
  static const mamba3::Network instance = [] {
    mamba3::ModelConfig c;
    c.d_model = c.mixer.d_model = 8;
    c.n_layer = 1;
    c.vocab_size = 8;
    c.mixer.headdim = 8;
    c.mixer.d_state = 2;
    return mamba3::Network(mamba3::random_checkpoint(c, "fuzz", 0, mamba3::DType::f32));
  }();
  return instance;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::uint64_t kModel = 1;  // the corpus is written for it
  std::vector<std::byte> bytes(size);
  if (size > 0) std::memcpy(bytes.data(), data, size);
  if (size >= 8) {
    const std::uint64_t sum = XXH3_64bits(bytes.data(), size - 8);
    std::memcpy(bytes.data() + size - 8, &sum, sizeof sum);
  }
  try {
    mamba3::parse_state(bytes, "state", kModel, network());
  } catch (const mamba3::Error&) {
  }
  return 0;
}
