#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "core/atomic_file.h"
#include "core/error.h"
#include "formats/safetensors_header.h"
#include "formats/shown.h"
#include "formats/tensor_file.h"

namespace mamba3 {
namespace {

constexpr std::size_t kHeaderAlignment = 8;

std::string json_text(std::string_view text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail(ErrorCode::invalid_argument, "{} is not UTF-8 and cannot stand in a safetensors file", shown(text));
  }
}

std::int64_t size_of(const TensorToWrite& tensor) {
  if (block_of(tensor.dtype).elements != 1) {
    fail(ErrorCode::unsupported, "tensor {}: a safetensors file cannot hold {}", shown(tensor.name),
         name_of(tensor.dtype));
  }
  const auto elements = checked_elements(tensor.shape);
  const auto bytes = elements ? bytes_of(tensor.dtype, *elements) : std::nullopt;
  if (!bytes || tensor.shape.size() > kMaxSafetensorsAxes) {
    fail(ErrorCode::invalid_argument, "tensor {} cannot have the shape {}", shown(tensor.name), tensor.shape);
  }
  return *bytes;
}

void check_names(const std::vector<TensorToWrite>& tensors) {
  std::set<std::string_view> names{kSafetensorsMetadata};
  for (const TensorToWrite& tensor : tensors) {
    if (!names.insert(tensor.name).second) {
      fail(ErrorCode::invalid_argument, "the tensor name {} is taken in a safetensors file",
           shown(tensor.name));
    }
  }
}

/// Indices with the widest elements first: without holes, each tensor then begins at a multiple of its own
/// element size.
std::vector<std::size_t> writing_order(const std::vector<TensorToWrite>& tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, std::greater{},
                           [&](std::size_t i) { return block_of(tensors[i].dtype).bytes; });
  return order;
}

std::string metadata_text(const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> rows;
  for (const auto& [key, value] : metadata) rows.push_back(json_text(key) + ":" + json_text(value));
  return fmt::format("{}:{{{}}}", json_text(kSafetensorsMetadata), fmt::join(rows, ","));
}

/// The header's JSON, padded with spaces so that the data behind it is aligned to 8 bytes.
std::string header_text(const std::vector<TensorToWrite>& tensors, const std::vector<std::size_t>& order,
                        const std::map<std::string, std::string>& metadata) {
  std::vector<std::string> rows;
  if (!metadata.empty()) rows.push_back(metadata_text(metadata));
  std::int64_t begin = 0;
  for (const std::size_t i : order) {
    const TensorToWrite& tensor = tensors[i];
    const auto end = checked_add(begin, size_of(tensor));
    if (!end) fail(ErrorCode::invalid_argument, "tensor {} is too large for any file", shown(tensor.name));
    rows.push_back(fmt::format(R"({}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                               json_text(tensor.name), name_of(tensor.dtype), fmt::join(tensor.shape, ","),
                               begin, *end));
    begin = *end;
  }
  std::string text = fmt::format("{{{}}}", fmt::join(rows, ","));
  text.resize((text.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');
  if (text.size() > kMaxSafetensorsHeader) {
    fail(ErrorCode::invalid_argument,
         "the header of {} tensors takes {} bytes, more than a safetensors file's {}", tensors.size(),
         text.size(), kMaxSafetensorsHeader);
  }
  return text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const FillTensor& fill, const std::map<std::string, std::string>& metadata) {
  check_names(tensors);
  const auto order = writing_order(tensors);
  const std::string header = header_text(tensors, order, metadata);
  AtomicFile file(path);
  const std::uint64_t length = header.size();
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(header);
  std::vector<std::byte> data;
  for (const std::size_t i : order) {
    data.resize(static_cast<std::size_t>(size_of(tensors[i])));
    fill(i, data);
    file.write(data);
  }
  file.commit();
}

}  // namespace mamba3
