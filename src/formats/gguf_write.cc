#include <algorithm>
#include <set>

#include "core/atomic_file.h"
#include "core/checked.h"
#include "core/error.h"
#include "formats/gguf.h"
#include "formats/gguf_types.h"
#include "formats/shown.h"

namespace mamba3 {
namespace {

constexpr std::uint32_t kAlignment = 64;
constexpr std::size_t kMaxNameBytes = 63;  // llama.cpp keeps names in 64 bytes with a closing NUL

std::size_t padding_after(std::uint64_t position) {
  return (kAlignment - position % kAlignment) % kAlignment;
}

/// The header's bytes.
class Header {
 public:
  template <typename T>
  void number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }

  void text(std::string_view value) {
    number<std::uint64_t>(value.size());
    bytes_.append(value);
  }

  void scalar(const std::string& value) { text(value); }
  void scalar(bool value) { number<std::uint8_t>(value ? 1 : 0); }
  template <typename T>
  void scalar(T value) {
    number(value);
  }

  void value(const GgufValue& value) {
    if (gguf::is_array(value)) number(gguf::kArrayType);
    number(gguf::value_type(value).number);
    std::visit([this](const auto& held) { put(held); }, value);
  }

  void append(std::string_view bytes) { bytes_.append(bytes); }
  void pad() { bytes_.append(padding_after(bytes_.size()), '\0'); }
  std::string_view bytes() const { return bytes_; }

 private:
  template <typename T>
  void put(const T& value) {
    scalar(value);
  }
  template <typename T>
  void put(const std::vector<T>& values) {
    number<std::uint64_t>(values.size());
    for (const auto& value : values) scalar(static_cast<const T&>(value));
  }

  std::string bytes_;
};

GgufMetadata with_alignment(GgufMetadata metadata) {
  const auto found =
      std::ranges::find(metadata, gguf::kAlignmentKey, [](const auto& entry) { return entry.first; });
  if (found == metadata.end()) {
    metadata.emplace_back(gguf::kAlignmentKey, kAlignment);
  } else {
    found->second = kAlignment;
  }
  return metadata;
}

void put_metadata(Header& header, const GgufMetadata& metadata, const std::string& file) {
  std::set<std::string_view> seen;
  for (const auto& [key, value] : metadata) {
    if (key.empty() || key.size() > gguf::kMaxKeyBytes) {
      fail(ErrorCode::invalid_argument, "{}: a metadata key of {} bytes, expected 1 to {}", file, key.size(),
           gguf::kMaxKeyBytes);
    }
    if (!seen.insert(key).second) {
      fail(ErrorCode::invalid_argument, "{}: key {} is given twice", file, shown(key));
    }
    header.text(key);
    header.value(value);
  }
}

std::uint32_t type_number(const TensorToWrite& tensor, const std::string& file) {
  const auto found = std::ranges::find(gguf::kTensorTypes, tensor.dtype, &gguf::TensorType::dtype);
  if (found == gguf::kTensorTypes.end()) {
    fail(ErrorCode::unsupported, "{}: tensor {} is of type {}, which GGUF does not have", file,
         shown(tensor.name), name_of(tensor.dtype));
  }
  return found->number;
}

/// Bytes of a tensor that GGUF can hold.
std::uint64_t checked_size(const TensorToWrite& tensor, const std::string& file) {
  if (tensor.name.empty() || tensor.name.size() > kMaxNameBytes) {
    fail(ErrorCode::invalid_argument, "{}: tensor name {} has {} bytes, expected 1 to {}", file,
         shown(tensor.name), tensor.name.size(), kMaxNameBytes);
  }
  if (tensor.shape.size() > gguf::kMaxAxes) {
    fail(ErrorCode::invalid_argument, "{}: tensor {} has {} axes, expected at most {}", file,
         shown(tensor.name), tensor.shape.size(), gguf::kMaxAxes);
  }
  const std::int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  const std::int64_t block = block_of(tensor.dtype).elements;
  const auto elements = checked_elements(tensor.shape);
  const auto size = elements && row % block == 0 ? bytes_of(tensor.dtype, *elements) : std::nullopt;
  if (!size) {
    fail(ErrorCode::invalid_argument, "{}: tensor {} of type {} cannot have the shape {}", file,
         shown(tensor.name), name_of(tensor.dtype), tensor.shape);
  }
  return static_cast<std::uint64_t>(*size);
}

/// Writes the tensors' entries and returns their sizes in bytes.
std::vector<std::uint64_t> put_infos(Header& header, const std::vector<TensorToWrite>& tensors,
                                     const std::string& file) {
  std::set<std::string_view> seen;
  std::vector<std::uint64_t> sizes;
  std::uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    sizes.push_back(checked_size(tensor, file));
    if (!seen.insert(tensor.name).second) {
      fail(ErrorCode::invalid_argument, "{}: tensor {} is given twice", file, shown(tensor.name));
    }
    header.text(tensor.name);
    header.number(static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size) header.number(*size);
    header.number(type_number(tensor, file));
    header.number(offset);
    offset += sizes.back() + padding_after(sizes.back());
  }
  return sizes;
}

}  // namespace

void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata,
                const std::vector<TensorToWrite>& tensors, const FillTensor& fill) {
  const GgufMetadata complete = with_alignment(metadata);
  Header header;
  header.append(gguf::kMagic);
  header.number(gguf::kVersion);
  header.number<std::uint64_t>(tensors.size());
  header.number<std::uint64_t>(complete.size());
  put_metadata(header, complete, path.string());
  const std::vector<std::uint64_t> sizes = put_infos(header, tensors, path.string());
  header.pad();

  AtomicFile file(path);
  file.write(header.bytes());
  std::vector<std::byte> data;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    data.assign(sizes[i] + padding_after(sizes[i]), std::byte{0});
    fill(i, std::span(data).first(sizes[i]));
    file.write(data);
  }
  file.commit();
}

}  // namespace mamba3
