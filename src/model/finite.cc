#include "model/finite.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"

namespace mamba3 {
namespace {

// `first` is the place of the view's first value in the tensor of that name.
void check_values(const TensorView& tensor, const std::string& name, const std::string& file,
                  std::int64_t first = 0) {
  constexpr std::int64_t kPiece = 4096;  // a multiple of every block
  std::vector<double> values(kPiece);
  for (std::int64_t i = 0; i < tensor.elements(); i += kPiece) {
    const std::int64_t count = std::min(kPiece, tensor.elements() - i);
    to_double(tensor.dtype, tensor.bytes.data() + *bytes_of(tensor.dtype, i), count, values.data());
    const auto bad =
        std::find_if(values.begin(), values.begin() + count, [](double v) { return !std::isfinite(v); });
    if (bad == values.begin() + count) continue;
    fail(ErrorCode::numeric, "{}: tensor {} holds {} at element {}, expected finite numbers", file, name,
         std::isnan(*bad) ? "NaN" : "infinity", first + i + (bad - values.begin()));
  }
}

}  // namespace

void check_finite(const TensorFile& file) {
  for (const auto& [name, tensor] : file.tensors) {
    if (is_float(tensor.dtype)) check_values(tensor, name, file.name);
  }
}

void check_finite(const Checkpoint& checkpoint) {
  const bool gguf = checkpoint.format == "gguf";
  for (const Parameter& p : checkpoint.parameters) {
    const TensorView& tensor = checkpoint.tensor(p.name);
    const std::int64_t row = tensor.elements() / p.shape[0];
    check_values(tensor, gguf ? p.gguf : p.official, checkpoint.name, gguf ? 0 : p.official_row * row);
  }
}

}  // namespace mamba3
