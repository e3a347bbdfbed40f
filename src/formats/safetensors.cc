#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "core/error.h"
#include "core/mapped_file.h"
#include "formats/safetensors_header.h"
#include "formats/shown.h"
#include "formats/tensor_file.h"

namespace mamba3 {
namespace {

constexpr std::size_t kLengthBytes = sizeof(std::uint64_t);

std::string_view header_text(std::span<const std::byte> bytes, std::string_view file) {
  if (bytes.size() < kLengthBytes) {
    fail(ErrorCode::bad_format,
         "{}: {} bytes are too few for a safetensors file, which begins with 8 bytes of length", file,
         bytes.size());
  }
  std::uint64_t length;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxSafetensorsHeader) {
    fail(ErrorCode::bad_format,
         "{}: the header claims {} bytes, more than the limit of {}: not a safetensors file?", file, length,
         kMaxSafetensorsHeader);
  }
  if (length > bytes.size() - kLengthBytes) {
    fail(ErrorCode::bad_format, "{}: the header claims {} bytes, but only {} follow", file, length,
         bytes.size() - kLengthBytes);
  }
  return {reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, static_cast<std::size_t>(length)};
}

DType dtype_of(const SafetensorsEntry& entry, std::string_view file) {
  const auto type = dtype_named(entry.dtype);
  // The format knows one spelling, and no block types.
  if (!type || name_of(*type) != entry.dtype || block_of(*type).elements != 1) {
    fail(ErrorCode::unsupported, "{}: tensor {} has dtype {}, which is unknown or not supported", file,
         shown(entry.name), shown(entry.dtype));
  }
  return *type;
}

/// Precondition: begin <= end.
void check_size(const SafetensorsEntry& entry, DType type, std::string_view file) {
  const auto elements = checked_elements(entry.shape);
  const auto bytes = elements ? bytes_of(type, *elements) : std::nullopt;
  if (!bytes) {
    fail(ErrorCode::bad_format, "{}: tensor {} has shape {} of {}, which is too large for any file", file,
         shown(entry.name), entry.shape, entry.dtype);
  }
  if (*bytes != entry.end - entry.begin) {
    fail(ErrorCode::bad_format, "{}: tensor {} of {} {} needs {} bytes, its data_offsets give {}", file,
         shown(entry.name), entry.dtype, entry.shape, *bytes, entry.end - entry.begin);
  }
}

/// Tensors lie one behind the other: `position` is where the last one ended.
void check_place(const SafetensorsEntry& entry, std::int64_t position, std::int64_t available,
                 std::string_view file) {
  if (entry.end < entry.begin || entry.end > available) {
    fail(ErrorCode::bad_format, "{}: tensor {} lies at bytes {} to {} of the data, which has {} bytes", file,
         shown(entry.name), entry.begin, entry.end, available);
  }
  if (entry.begin != position) {
    fail(ErrorCode::bad_format,
         "{}: tensor {} begins at byte {} of the data, expected {}: it leaves a hole or overlaps", file,
         shown(entry.name), entry.begin, position);
  }
}

}  // namespace

TensorFile parse_safetensors(std::span<const std::byte> bytes, std::string_view name) {
  const std::string_view text = header_text(bytes, name);
  SafetensorsHeader header = parse_safetensors_header(text, name);
  const auto data = bytes.subspan(kLengthBytes + text.size());
  const auto available = static_cast<std::int64_t>(data.size());
  TensorFile result{.name = std::string(name),
                    .format = "safetensors",
                    .tensors = {},
                    .metadata = std::move(header.metadata),
                    .owners = {}};
  std::ranges::sort(header.entries, {}, [](const auto& entry) { return std::tie(entry.begin, entry.end); });
  std::int64_t position = 0;
  for (SafetensorsEntry& entry : header.entries) {
    check_place(entry, position, available, name);
    const DType type = dtype_of(entry, name);
    check_size(entry, type, name);
    const auto size = static_cast<std::size_t>(entry.end - entry.begin);
    const auto view = data.subspan(static_cast<std::size_t>(entry.begin), size);
    result.tensors.emplace(std::move(entry.name), TensorView{type, std::move(entry.shape), view});
    position = entry.end;
  }
  if (position != available) {
    fail(ErrorCode::bad_format, "{}: the tensors end at byte {} of the data, which has {} bytes", name,
         position, available);
  }
  return result;
}

TensorFile read_safetensors(const std::filesystem::path& path) {
  auto mapping = std::make_shared<const MappedFile>(path);
  TensorFile result = parse_safetensors(mapping->bytes(), path.string());
  result.owners.push_back(std::move(mapping));
  return result;
}

}  // namespace mamba3
