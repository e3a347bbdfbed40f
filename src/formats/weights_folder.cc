#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/error.h"
#include "core/mapped_file.h"
#include "formats/shown.h"
#include "formats/tensor_file.h"

namespace mamba3 {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kMaxIndexBytes = std::size_t{1} << 26;
constexpr int kMaxIndexDepth = 8;

using ReadFile = TensorFile (*)(const fs::path&);

/// A kind of weights file; of several in a folder the first is read.
struct Kind {
  std::string_view single;
  std::string_view index;  ///< of shards
  ReadFile read;
};
constexpr std::array kKinds = {
    Kind{"model.safetensors", "model.safetensors.index.json", read_safetensors},
    Kind{"pytorch_model.bin", "pytorch_model.bin.index.json", read_torch},
};

/// JSON without duplicate names and without deep nesting.
class StrictJson {
 public:
  StrictJson(std::string_view text, std::string_view file) : file_(file) {
    try {
      value_ = json::parse(text, [this](int depth, json::parse_event_t event, json& parsed) {
        return see(depth, event, parsed);
      });
    } catch (const json::parse_error& error) {
      fail(ErrorCode::bad_format, "{}: not JSON in UTF-8 (at byte {})", file_, error.byte);
    }
  }

  const json& value() const { return value_; }

 private:
  bool see(int depth, json::parse_event_t event, const json& parsed) {
    if (depth > kMaxIndexDepth)
      fail(ErrorCode::bad_format, "{}: nested deeper than {} levels", file_, kMaxIndexDepth);
    if (event == json::parse_event_t::object_start) {
      names_.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      names_.pop_back();
    } else if (event == json::parse_event_t::key && !names_.back().insert(parsed.get<std::string>()).second) {
      fail(ErrorCode::bad_format, "{}: the name {} occurs twice", file_,
           shown(parsed.get_ref<const std::string&>()));
    }
    return true;
  }

  std::string_view file_;
  std::vector<std::set<std::string>> names_;  ///< of the objects that are open
  json value_;
};

/// A shard is a plain name: the index must not lead out of the folder.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

/// Tensor name to the name of its shard.
std::map<std::string, std::string> read_weight_map(const fs::path& path) {
  const MappedFile mapping(path);
  const auto bytes = mapping.bytes();
  const std::string file = path.string();
  if (bytes.size() > kMaxIndexBytes) {
    fail(ErrorCode::bad_format, "{}: {} bytes, expected at most {}", file, bytes.size(), kMaxIndexBytes);
  }
  const StrictJson index({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, file);
  const auto weight_map = index.value().find("weight_map");
  if (!index.value().is_object() || weight_map == index.value().end() || !weight_map->is_object()) {
    fail(ErrorCode::bad_format, "{}: expected an object with an object weight_map", file);
  }
  std::map<std::string, std::string> shard_of;
  for (const auto& [tensor, shard] : weight_map->items()) {
    if (!shard.is_string())
      fail(ErrorCode::bad_format, "{}: the shard of {} is not a text", file, shown(tensor));
    if (!is_plain_name(shard.get_ref<const std::string&>())) {
      fail(ErrorCode::bad_format, "{}: the shard {} of {} is not a plain file name", file,
           shown(shard.get_ref<const std::string&>()), shown(tensor));
    }
    shard_of.emplace(tensor, shard.get<std::string>());
  }
  return shard_of;
}

/// Moves a shard's tensors into the whole.
void merge(TensorFile& whole, TensorFile shard) {
  for (auto& [name, view] : shard.tensors) {
    if (!whole.tensors.emplace(name, std::move(view)).second) {
      fail(ErrorCode::bad_format, "{}: tensor {} is in another shard too", shard.name, shown(name));
    }
  }
  whole.metadata.merge(shard.metadata);
  whole.owners.insert(whole.owners.end(), shard.owners.begin(), shard.owners.end());
  whole.format = shard.format;
}

TensorFile read_shards(const fs::path& index, ReadFile read) {
  const auto shard_of = read_weight_map(index);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  TensorFile whole{.name = index.string(), .format = {}, .tensors = {}, .metadata = {}, .owners = {}};
  for (const std::string& shard_name : shards) {
    const fs::path path = index.parent_path() / shard_name;
    std::error_code ignored;
    if (!fs::exists(path, ignored)) {
      fail(ErrorCode::not_found, "{}: the shard {} is not in the folder", whole.name, shown(shard_name));
    }
    TensorFile shard = read(path);
    for (const auto& [tensor, its_shard] : shard_of) {
      if (its_shard == shard_name && !shard.tensors.contains(tensor)) {
        fail(ErrorCode::bad_format, "{}: tensor {} should be in {}, which does not hold it", whole.name,
             shown(tensor), shown(shard_name));
      }
    }
    merge(whole, std::move(shard));
  }
  return whole;
}

}  // namespace

TensorFile read_weights_folder(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) fail(ErrorCode::not_found, "{}: no such folder", folder.string());
  std::vector<std::string_view> names;
  for (const Kind& kind : kKinds) {
    if (fs::exists(folder / kind.single, ignored)) return kind.read(folder / kind.single);
    if (fs::exists(folder / kind.index, ignored)) return read_shards(folder / kind.index, kind.read);
    names.insert(names.end(), {kind.single, kind.index});
  }
  fail(ErrorCode::not_found, "{}: no weights, expected one of {}", folder.string(), fmt::join(names, ", "));
}

}  // namespace mamba3
