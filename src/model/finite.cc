#include "model/finite.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "model/rows.h"

namespace mamba3 {
namespace {

// `first` is the place of the view's first value in the tensor of that name.
void check_values(const TensorView& tensor, const std::string& name, const std::string& file,
                  std::int64_t first = 0) {
  const StoredRows rows(tensor);
  std::vector<double> values(static_cast<std::size_t>(rows.width()));
  std::vector<std::byte> memory;
  for (std::int64_t i = 0; i < rows.count(); ++i) {
    to_double(tensor.dtype, rows.row(i, memory), rows.width(), values.data());
    const auto bad = std::ranges::find_if(values, [](double v) { return !std::isfinite(v); });
    if (bad == values.end()) continue;
    fail(ErrorCode::numeric, "{}: tensor {} holds {} at element {}, expected finite numbers", file, name,
         std::isnan(*bad) ? "NaN" : "infinity", first + i * rows.width() + (bad - values.begin()));
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
