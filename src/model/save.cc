// Writing a Checkpoint as an official folder of safetensors.
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "core/atomic_file.h"
#include "core/error.h"
#include "formats/tensor_file.h"
#include "model/checkpoint.h"
#include "model/store.h"
#include "tokenizer/write_json.h"

namespace mamba3 {
namespace {

namespace fs = std::filesystem;

// A folder that gets its name when everything in it is written.
class NewFolder {
 public:
  explicit NewFolder(const fs::path& target) : target_(fs::absolute(target).lexically_normal()) {
    if (!target_.has_filename()) target_ = target_.parent_path();
    if (fs::exists(target_) && !(fs::is_directory(target_) && fs::is_empty(target_))) {
      fail(ErrorCode::io, "{}: exists already, and nothing is written over it", target.string());
    }
    std::string pattern = target_.string() + ".XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) {
      fail(ErrorCode::io, "{}: cannot make a folder beside it: {}", target.string(), std::strerror(errno));
    }
    temporary_ = pattern;
  }
  ~NewFolder() {
    std::error_code ignored;
    if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  fs::path operator/(const char* name) const { return temporary_ / name; }

  void commit() {
    std::error_code error;
    fs::permissions(temporary_, fs::perms(0755), error);
    fs::rename(temporary_, target_, error);
    if (error)
      fail(ErrorCode::io, "{}: cannot rename the finished folder: {}", target_.string(), error.message());
    temporary_.clear();
  }

 private:
  fs::path target_;
  fs::path temporary_;
};

void write_text(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

// One tensor of the official format and the parameters that are its rows, in order.
struct OfficialTensor {
  TensorToWrite header;
  std::vector<const Parameter*> parts;
};

std::vector<OfficialTensor> official_tensors(const Checkpoint& checkpoint, DType type) {
  std::vector<OfficialTensor> tensors;
  std::map<std::string, std::size_t> index;
  for (const Parameter& p : checkpoint.parameters) {
    const auto [at, first] = index.try_emplace(p.official, tensors.size());
    if (first) tensors.push_back({{p.official, DType::f32, p.shape}, {}});
    OfficialTensor& tensor = tensors[at->second];
    if (!first) tensor.header.shape[0] += p.shape[0];
    if (p.precision == Precision::weight) tensor.header.dtype = type;
    tensor.parts.push_back(&p);
  }
  return tensors;
}

}  // namespace

void save_folder(const Checkpoint& checkpoint, const fs::path& path, DType type) {
  if (block_of(type).elements != 1) {
    fail(ErrorCode::unsupported, "{}: safetensors cannot hold {}; write a .gguf file", path.string(),
         name_of(type));
  }
  NewFolder folder(path);
  const auto tensors = official_tensors(checkpoint, type);
  std::vector<TensorToWrite> headers;
  for (const OfficialTensor& tensor : tensors) headers.push_back(tensor.header);
  write_safetensors(
      folder / "model.safetensors", headers,
      [&](std::size_t i, std::span<std::byte> out) {
        std::size_t at = 0;
        for (const Parameter* p : tensors[i].parts) {
          const auto bytes =
              static_cast<std::size_t>(*bytes_of(headers[i].dtype, *checked_elements(p->shape)));
          store_tensor(checkpoint.tensor(p->name), headers[i].dtype, nullptr, out.subspan(at, bytes));
          at += bytes;
        }
      },
      {{"format", "pt"}});
  write_text(folder / "config.json", config_to_json(checkpoint.config));
  if (checkpoint.tokenizer)
    write_text(folder / "tokenizer.json", tokenizer_json(checkpoint.tokenizer->spec()));
  folder.commit();
}

}  // namespace mamba3
