#include <zlib.h>

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/mapped_file.h"
#include "formats/shown.h"
#include "formats/tensor_file.h"
#include "formats/torch_pickle.h"
#include "formats/torch_strides.h"
#include "formats/torch_zip.h"

namespace mamba3 {
namespace {

constexpr std::string_view kPickleName = "/data.pkl";
constexpr std::size_t kMaxAxes = 64;  // PyTorch's own limit
// Copies of tensors that are not contiguous may take this much together: enough for every weight of a real
// file, and for a small expanded buffer, but no file can ask for more than it brings.
constexpr std::int64_t kCopiesPerFileByte = 4;
constexpr std::int64_t kCopiesAlways = std::int64_t{1} << 20;

/// The folder all members lie in: `archive` of `archive/data.pkl`.
std::string root_of(const std::map<std::string, ZipMember>& members, std::string_view file) {
  std::vector<std::string> roots;
  for (const auto& [name, member] : members) {
    const std::size_t slash = name.find('/');
    if (slash != name.npos && name.substr(slash) == kPickleName) roots.push_back(name.substr(0, slash));
  }
  if (roots.size() != 1) {
    fail(ErrorCode::bad_format, "{}: expected one member FOLDER/data.pkl in the zip archive, found {}", file,
         roots.size());
  }
  return roots.front();
}

/// Turns the values of a pickle and the members of its archive into tensors.
class TorchReader {
 public:
  TorchReader(std::span<const std::byte> bytes, std::string_view file)
      : members_(read_stored_zip(bytes, file)),
        root_(root_of(members_, file)),
        copies_left_(kCopiesPerFileByte * static_cast<std::int64_t>(bytes.size()) + kCopiesAlways) {
    result_.name = file;
    result_.format = "torch";
  }

  TensorFile read() {
    check_byte_order();
    pickle_ = pickle::parse(members_.at(root_ + std::string(kPickleName)).bytes, result_.name);
    for (const auto& [key, value] : state_dict().items) {
      const auto* tensor = pickle_.find<pickle::Tensor>(value);
      if (tensor == nullptr) continue;
      const auto* name = pickle_.find<std::string_view>(key);
      if (name == nullptr) bad("a tensor whose name is not a text");
      if (!result_.tensors.emplace(*name, view_of(*tensor, *name)).second) {
        bad("the name {} occurs twice", shown(*name));
      }
    }
    return std::move(result_);
  }

 private:
  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> text, Args&&... args) const {
    fail(ErrorCode::bad_format, "{}: {}", result_.name, fmt::format(text, std::forward<Args>(args)...));
  }

  void check_byte_order() const {
    const auto found = members_.find(root_ + "/byteorder");
    if (found == members_.end()) return;  // older files, always little-endian in practice
    const auto bytes = found->second.bytes;
    const std::string_view order(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (order == "little") return;
    fail(ErrorCode::unsupported, "{}: the byte order is {}, expected little", result_.name, shown(order));
  }

  bool has_tensor(const pickle::Dict& dict) const {
    return std::ranges::any_of(
        dict.items, [&](const auto& item) { return pickle_.find<pickle::Tensor>(item.second) != nullptr; });
  }

  /// The dict of tensors: the pickle's own value or, in a training checkpoint, what it calls the model.
  const pickle::Dict& state_dict() const {
    const auto* top = pickle_.find<pickle::Dict>(pickle_.top);
    if (top == nullptr) bad("expected a dict of tensors in data.pkl, found another value");
    if (has_tensor(*top)) return *top;
    const pickle::Dict* inner = nullptr;
    for (const auto& [key, value] : top->items) {
      const auto* name = pickle_.find<std::string_view>(key);
      const auto* dict = pickle_.find<pickle::Dict>(value);
      if (name == nullptr || dict == nullptr || (*name != "state_dict" && *name != "model")) continue;
      if (inner != nullptr) bad("more than one of state_dict and model in data.pkl, expected one");
      inner = dict;
    }
    if (inner == nullptr || !has_tensor(*inner)) bad("no tensor in the dict of data.pkl");
    return *inner;
  }

  /// The storage's bytes in the archive, as many as its elements need.
  std::span<const std::byte> storage_bytes(const pickle::Storage& storage, std::string_view tensor) const {
    const std::string_view key = *pickle_.find<std::string_view>(storage.key);
    const auto member = members_.find(fmt::format("{}/data/{}", root_, key));
    if (member == members_.end())
      bad("tensor {} uses storage {}, which is not in the file", shown(tensor), shown(key));
    const auto found = member->second.bytes;
    const auto needed = bytes_of(storage.dtype, storage.elements);
    if (!needed || static_cast<std::uint64_t>(*needed) != found.size()) {
      bad("tensor {}: storage {} should hold {} elements of {}, found {} bytes", shown(tensor), shown(key),
          storage.elements, name_of(storage.dtype), found.size());
    }
    return found;
  }

  Shape integers(pickle::Ref tuple, std::string_view tensor, std::string_view what) const {
    const auto& items = pickle_.find<pickle::Tuple>(tuple)->items;
    if (items.size() > kMaxAxes)
      bad("tensor {} has {} axes, expected at most {}", shown(tensor), items.size(), kMaxAxes);
    Shape values;
    for (const pickle::Ref item : items) {
      const auto* value = pickle_.find<std::int64_t>(item);
      if (value == nullptr) bad("tensor {}: its {} is not made of integers", shown(tensor), what);
      values.push_back(*value);
    }
    return values;
  }

  TensorView view_of(const pickle::Tensor& tensor, std::string_view name) {
    const auto& storage = *pickle_.find<pickle::Storage>(tensor.storage);
    StridedLayout layout{integers(tensor.shape, name, "shape"), integers(tensor.strides, name, "stride"),
                         tensor.offset};
    const auto end = end_of(layout);
    if (!end || *end > storage.elements) {
      bad("tensor {} of shape {}, strides {} and offset {} does not fit in its storage of {} elements",
          shown(name), layout.shape, layout.strides, layout.offset, storage.elements);
    }
    const auto from = storage_bytes(storage, name);
    TensorView view{storage.dtype, layout.shape, {}};
    const std::int64_t element_bytes = block_of(view.dtype).bytes;
    if (is_contiguous(layout)) {
      view.bytes = from.subspan(static_cast<std::size_t>(layout.offset * element_bytes),
                                static_cast<std::size_t>(view.elements() * element_bytes));
    } else {
      view.bytes = copy_of(layout, from, element_bytes, name);
    }
    return view;
  }

  std::span<const std::byte> copy_of(const StridedLayout& layout, std::span<const std::byte> from,
                                     std::int64_t element_bytes, std::string_view name) {
    const auto size = checked_mul(checked_elements(layout.shape).value_or(0), element_bytes);
    if (!size || *size > copies_left_) {
      bad("tensor {} of shape {} and strides {} would have to be copied, and with it the copies would be far "
          "larger "
          "than the file",
          shown(name), layout.shape, layout.strides);
    }
    copies_left_ -= *size;
    auto copy = std::make_shared<const std::vector<std::byte>>(gathered(layout, from, element_bytes));
    result_.owners.push_back(copy);
    return *copy;
  }

  std::map<std::string, ZipMember> members_;
  std::string root_;
  std::int64_t copies_left_;
  pickle::Pickle pickle_;
  TensorFile result_;
};

}  // namespace

TensorFile parse_torch(std::span<const std::byte> bytes, std::string_view name) {
  return TorchReader(bytes, name).read();
}

TensorFile read_torch(const std::filesystem::path& path) {
  auto mapping = std::make_shared<const MappedFile>(path);
  TensorFile result = parse_torch(mapping->bytes(), path.string());
  result.owners.push_back(std::move(mapping));
  return result;
}

void check_torch_sums(std::span<const std::byte> bytes, std::string_view name) {
  for (const auto& [member_name, member] : read_stored_zip(bytes, name)) {
    const auto* data = reinterpret_cast<const Bytef*>(member.bytes.data());
    const auto found = crc32_z(0, data, member.bytes.size());
    if (found != member.crc) {
      fail(ErrorCode::bad_format, "{}: the member {} is damaged: its CRC-32 is {:08x}, expected {:08x}", name,
           shown(member_name), found, member.crc);
    }
  }
}

}  // namespace mamba3
