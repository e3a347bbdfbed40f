#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <type_traits>
#include <unordered_set>

#include "core/checked.h"
#include "core/error.h"
#include "core/mapped_file.h"
#include "formats/gguf.h"
#include "formats/gguf_types.h"
#include "formats/shown.h"

namespace mamba3 {
namespace {

constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kMaxAlignment = 65536;
constexpr std::uint64_t kMaxNameBytes = 1024;
// The least that an entry of each table takes: an empty name and the smallest value; a name and a scalar.
constexpr std::uint64_t kLeastKeyBytes = 8 + 4 + 1;
constexpr std::uint64_t kLeastTensorBytes = 8 + 4 + 4 + 8;

/// A tensor's entry in the header.
struct TensorInfo {
  std::string_view name;
  const gguf::TensorType* type = nullptr;
  Shape shape;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

/// Calls `visit` with the C++ type of a scalar's number. Precondition: the number is one of kValueTypes.
template <typename Visit>
GgufValue with_value_type(std::uint32_t number, Visit visit) {
  switch (number) {
    case 0:
      return visit(std::type_identity<std::uint8_t>{});
    case 1:
      return visit(std::type_identity<std::int8_t>{});
    case 2:
      return visit(std::type_identity<std::uint16_t>{});
    case 3:
      return visit(std::type_identity<std::int16_t>{});
    case 4:
      return visit(std::type_identity<std::uint32_t>{});
    case 5:
      return visit(std::type_identity<std::int32_t>{});
    case 6:
      return visit(std::type_identity<float>{});
    case 7:
      return visit(std::type_identity<bool>{});
    case gguf::kStringType:
      return visit(std::type_identity<std::string>{});
    case 10:
      return visit(std::type_identity<std::uint64_t>{});
    case 11:
      return visit(std::type_identity<std::int64_t>{});
    default:
      return visit(std::type_identity<double>{});
  }
}

/// Walks the header. Every count is compared with the bytes that remain before anything is allocated for it.
class Parser {
 public:
  Parser(std::span<const std::byte> bytes, std::string_view name) : bytes_(bytes) {
    result_.file.name = name;
    result_.file.format = "gguf";
  }

  GgufFile parse() {
    read_version();
    const auto tensors = count(kLeastTensorBytes, "tensors");
    const auto keys = count(kLeastKeyBytes, "metadata keys");
    read_metadata(keys);
    read_infos(tensors);
    place_tensors();
    return std::move(result_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void refuse(ErrorCode code, fmt::format_string<Args...> text, Args&&... args) const {
    fail(code, "{}: {}", result_.file.name, fmt::format(text, std::forward<Args>(args)...));
  }

  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> text, Args&&... args) const {
    refuse(ErrorCode::bad_format, text, std::forward<Args>(args)...);
  }

  std::uint64_t remaining() const { return bytes_.size() - position_; }

  std::span<const std::byte> take(std::uint64_t size) {
    if (size > remaining()) {
      bad("the file ends inside {}: {} bytes needed at byte {}, {} there", where_, size, position_,
          remaining());
    }
    const auto taken = bytes_.subspan(position_, size);
    position_ += size;
    return taken;
  }

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }

  std::string_view text() {
    const auto characters = take(number<std::uint64_t>());
    return {reinterpret_cast<const char*>(characters.data()), characters.size()};
  }

  /// A count of things that take at least `least` bytes each.
  std::uint64_t count(std::uint64_t least, std::string_view things) {
    const auto claimed = number<std::uint64_t>();
    if (claimed > remaining() / least) {
      bad("{} claims {} {}, but only {} bytes follow", where_, claimed, things, remaining());
    }
    return claimed;
  }

  void read_version() {
    where_ = "the header";
    const auto magic = take(gguf::kMagic.size());
    if (std::memcmp(magic.data(), gguf::kMagic.data(), magic.size()) != 0) {
      bad("not a GGUF file: it does not begin with \"{}\"", gguf::kMagic);
    }
    const auto version = number<std::uint32_t>();
    if ((version & 0xffff) == 0) {
      refuse(ErrorCode::unsupported, "a big-endian GGUF file, expected a little-endian one");
    }
    if (version != 2 && version != gguf::kVersion) {
      refuse(ErrorCode::unsupported, "GGUF version {} is not supported, expected 3 (or 2)", version);
    }
  }

  void read_metadata(std::uint64_t keys) {
    std::unordered_set<std::string_view> seen;
    for (std::uint64_t i = 0; i < keys; ++i) {
      where_ = fmt::format("metadata key {} of {}", i + 1, keys);
      const std::string_view key = text();
      if (key.empty() || key.size() > gguf::kMaxKeyBytes) {
        bad("{} has a name of {} bytes, expected 1 to {}", where_, key.size(), gguf::kMaxKeyBytes);
      }
      where_ = fmt::format("key {}", shown(key));
      if (!seen.insert(key).second) bad("{} appears twice", where_);
      result_.metadata.emplace_back(key, value());
    }
  }

  GgufValue value() {
    const auto type = number<std::uint32_t>();
    if (type == gguf::kArrayType) return array();
    check_scalar(type, "the type");
    return with_value_type(type, [&]<typename T>(std::type_identity<T>) -> GgufValue { return scalar<T>(); });
  }

  void check_scalar(std::uint32_t type, std::string_view what) const {
    if (type == gguf::kArrayType) refuse(ErrorCode::unsupported, "{} is an array of arrays", where_);
    if (type > gguf::kValueTypes.back().number) bad("{} has {} {}, expected 0 to 12", where_, what, type);
  }

  template <typename T>
  T scalar() {
    if constexpr (std::is_same_v<T, std::string>) {
      return std::string(text());
    } else if constexpr (std::is_same_v<T, bool>) {
      const auto byte = number<std::uint8_t>();
      if (byte > 1) bad("{} holds the bool {}, expected 0 or 1", where_, byte);
      return byte == 1;
    } else {
      return number<T>();
    }
  }

  GgufValue array() {
    const auto type = number<std::uint32_t>();
    check_scalar(type, "the element type");
    return with_value_type(type,
                           [&]<typename T>(std::type_identity<T>) -> GgufValue { return elements<T>(); });
  }

  template <typename T>
  std::vector<T> elements() {
    constexpr bool kPlain = std::is_arithmetic_v<T> && !std::is_same_v<T, bool>;
    const auto size = count(std::is_same_v<T, std::string> ? sizeof(std::uint64_t) : sizeof(T), "elements");
    std::vector<T> values;
    if constexpr (kPlain) {
      values.resize(size);
      const auto from = take(size * sizeof(T));
      if (size > 0) std::memcpy(values.data(), from.data(), from.size());
    } else {
      values.reserve(size);
      for (std::uint64_t i = 0; i < size; ++i) values.push_back(scalar<T>());
    }
    return values;
  }

  void read_infos(std::uint64_t tensors) {
    std::unordered_set<std::string_view> seen;
    infos_.reserve(tensors);
    for (std::uint64_t i = 0; i < tensors; ++i) {
      where_ = fmt::format("the entry of tensor {} of {}", i + 1, tensors);
      TensorInfo info;
      info.name = text();
      if (info.name.empty() || info.name.size() > kMaxNameBytes) {
        bad("{} has a name of {} bytes, expected 1 to {}", where_, info.name.size(), kMaxNameBytes);
      }
      where_ = fmt::format("tensor {}", shown(info.name));
      if (!seen.insert(info.name).second) bad("{} appears twice", where_);
      info.shape = shape();
      info.type = &type();
      info.size = size_of(info);
      info.offset = number<std::uint64_t>();
      infos_.push_back(std::move(info));
    }
  }

  Shape shape() {
    const auto axes = number<std::uint32_t>();
    if (axes > gguf::kMaxAxes) bad("{} has {} axes, expected at most {}", where_, axes, gguf::kMaxAxes);
    Shape sizes(axes);
    for (std::int64_t& size : sizes) size = number<std::int64_t>();
    std::ranges::reverse(sizes);
    if (!checked_elements(sizes)) bad("{} has an impossible shape {}", where_, sizes);
    return sizes;
  }

  const gguf::TensorType& type() {
    const auto number_found = number<std::uint32_t>();
    const auto found = std::ranges::find(gguf::kTensorTypes, number_found, &gguf::TensorType::number);
    if (found == gguf::kTensorTypes.end()) bad("{} has the unknown GGUF type {}", where_, number_found);
    return *found;
  }

  std::uint64_t size_of(const TensorInfo& info) const {
    const std::int64_t row = info.shape.empty() ? 1 : info.shape.back();
    const Block block = info.type->block;
    if (row % block.elements != 0) {
      bad("{} of type {} has rows of {} values, expected a multiple of {}", where_, info.type->name, row,
          block.elements);
    }
    const auto size = checked_mul(*checked_elements(info.shape) / block.elements, block.bytes);
    if (!size) bad("{} has an impossible shape {}", where_, info.shape);
    return static_cast<std::uint64_t>(*size);
  }

  std::uint64_t alignment() const {
    const auto found = result_.find_integer(gguf::kAlignmentKey);
    if (!found) return kDefaultAlignment;
    const auto bytes = static_cast<std::uint64_t>(*found);
    if (!std::has_single_bit(bytes) || bytes > kMaxAlignment) {
      bad("key {} is {}, expected a power of two up to {}", shown(gguf::kAlignmentKey), *found,
          kMaxAlignment);
    }
    return bytes;
  }

  void place_tensors() {
    const std::uint64_t align = alignment();
    const std::uint64_t padding = (align - position_ % align) % align;
    const auto data = bytes_.subspan(position_ + std::min(padding, remaining()));
    std::ranges::sort(infos_, {}, [](const TensorInfo& info) { return std::pair(info.offset, info.size); });
    const TensorInfo* previous = nullptr;
    for (TensorInfo& info : infos_) {
      check_place(info, previous, align, data.size());
      previous = &info;
      keep(info, data);
    }
  }

  void keep(const TensorInfo& info, std::span<const std::byte> data) {
    if (info.type->dtype) {
      result_.file.tensors.emplace(
          info.name, TensorView{*info.type->dtype, info.shape, data.subspan(info.offset, info.size)});
    } else {
      result_.file.foreign.emplace(info.name, ForeignTensor{std::string(info.type->name), info.shape,
                                                            static_cast<std::int64_t>(info.size)});
    }
  }

  void check_place(const TensorInfo& info, const TensorInfo* previous, std::uint64_t align,
                   std::uint64_t available) const {
    if (info.offset % align != 0) {
      bad("tensor {} begins at {}, expected a multiple of the alignment {}", shown(info.name), info.offset,
          align);
    }
    if (info.offset > available || info.size > available - info.offset) {
      bad("tensor {} has {} bytes from {} of the data, which ends at {}", shown(info.name), info.size,
          info.offset, available);
    }
    if (previous != nullptr && previous->offset + previous->size > info.offset) {
      bad("tensors {} and {} overlap", shown(previous->name), shown(info.name));
    }
  }

  std::span<const std::byte> bytes_;
  std::uint64_t position_ = 0;
  std::string where_;  ///< what is being read, for messages
  std::vector<TensorInfo> infos_;
  GgufFile result_;
};

}  // namespace

GgufFile parse_gguf(std::span<const std::byte> bytes, std::string_view name) {
  return Parser(bytes, name).parse();
}

GgufFile read_gguf(const std::filesystem::path& path) {
  auto mapping = std::make_shared<const MappedFile>(path);
  GgufFile result = parse_gguf(mapping->bytes(), path.string());
  result.file.owners.push_back(std::move(mapping));
  return result;
}

}  // namespace mamba3
