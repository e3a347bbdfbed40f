#include "model/inspect.h"

#include <algorithm>
#include <fstream>
#include <string_view>

#include "core/error.h"
#include "core/mapped_file.h"
#include "core/utf8.h"
#include "formats/gguf.h"
#include "formats/tensor_file.h"
#include "model/checkpoint.h"
#include "model/finite.h"
#include "model/gguf_metadata.h"
#include "model/network.h"

namespace mamba3 {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kShownText = 60;
constexpr std::size_t kShownItems = 8;

std::string cut(const std::string& text) {
  std::string head = text.substr(0, kShownText);
  return take_utf8(head) + (text.size() > kShownText ? "..." : "");
}

std::string shown(const std::string& text) {
  return cut(text);
}

template <typename T>
std::string shown(const T& number) {
  return fmt::format("{}", number);
}

template <typename T>
std::string shown(const std::vector<T>& items) {
  std::string text;
  for (std::size_t i = 0; i < std::min(items.size(), kShownItems); ++i) {
    text += (i > 0 ? ", " : "") + shown(static_cast<T>(items[i]));
  }
  return fmt::format("{} items: {}{}", items.size(), text, items.size() > kShownItems ? ", ..." : "");
}

void describe_tensors(const TensorFile& file, Inspection& result) {
  for (const auto& [name, t] : file.tensors) {
    result.tensors.push_back(
        {name, std::string(name_of(t.dtype)), t.shape, t.elements(), std::ssize(t.bytes), t.tiled});
  }
  for (const auto& [name, t] : file.foreign) {
    result.tensors.push_back({name, t.type, t.shape, *checked_elements(t.shape), t.bytes, false});
  }
  std::ranges::sort(result.tensors, {}, &TensorFacts::name);
  for (const auto& [key, value] : file.metadata) result.metadata.emplace_back(key, cut(value));
}

void describe_model(const Checkpoint& checkpoint, Inspection& result) {
  result.config = checkpoint.config;
  for (const auto& [name, tensor] : checkpoint.tensors) result.parameters += tensor.elements();
  result.state_bytes = Network(checkpoint).state_bytes();
  result.tokenizer = checkpoint.tokenizer;
}

// A model with types that we cannot read is shown all the same, with the reason why it cannot be run.
void describe_runnable(const GgufFile& gguf, std::span<const std::byte> bytes, Inspection& result) {
  try {
    describe_model(parse_gguf_checkpoint(bytes, result.name), result);
  } catch (const Error& error) {
    if (gguf.file.foreign.empty()) throw;
    result.remark = error.what();
  }
}

void check_sums(const fs::path& path) {
  const MappedFile file(path);
  check_torch_sums(file.bytes(), path.string());
}

void check_sums_in(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("pytorch_model") && name.ends_with(".bin")) check_sums(entry.path());
  }
}

Inspection inspect_folder(const fs::path& folder, bool check) {
  Inspection result;
  result.name = folder.string();
  const Checkpoint checkpoint = load_checkpoint(folder);
  const TensorFile file = read_weights_folder(folder);
  result.kind = fmt::format("model folder ({})", file.format);
  describe_tensors(file, result);
  describe_model(checkpoint, result);
  if (check) {
    if (file.format == "torch") check_sums_in(folder);
    check_finite(file);
  }
  return result;
}

Inspection inspect_tensors(const fs::path& path, FileKind kind, bool check) {
  const bool torch = kind == FileKind::torch;
  const TensorFile file = torch ? read_torch(path) : read_safetensors(path);
  Inspection result;
  result.name = file.name;
  result.kind = file.format + " file";
  result.remark = "tensors alone: a model is a folder with config.json beside them, or a GGUF file";
  describe_tensors(file, result);
  if (check) {
    if (torch) check_sums(path);
    check_finite(file);
  }
  return result;
}

FileKind kind_by_name(const fs::path& path, std::string_view head) {
  const std::string ending = path.extension().string();
  if (ending == ".gguf") return FileKind::gguf;
  if (ending == ".safetensors") return FileKind::safetensors;
  if (ending == ".bin" || ending == ".pt" || ending == ".pth") return FileKind::torch;
  if (ending == ".json" || head.starts_with('{')) return FileKind::tokenizer;
  if (head.size() > 8 && head[8] == '{') return FileKind::safetensors;
  fail(ErrorCode::bad_format,
       "{}: neither a model folder nor a GGUF, safetensors, torch (zip) or tokenizer.json file",
       path.string());
}

}  // namespace

FileKind kind_of(const fs::path& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (!fs::exists(status)) {
    fail(ErrorCode::not_found, "{}: there is no such file or folder", path.string());
  }
  if (fs::is_directory(status)) return FileKind::folder;
  if (!fs::is_regular_file(status)) {
    fail(ErrorCode::bad_format, "{}: neither a file nor a folder", path.string());
  }
  char bytes[9];
  std::ifstream file(path, std::ios::binary);
  file.read(bytes, sizeof bytes);
  const std::string_view head(bytes, static_cast<std::size_t>(file.gcount()));
  if (head.starts_with("GGUF")) return FileKind::gguf;
  if (head.starts_with("PK\3\4")) return FileKind::torch;
  return kind_by_name(path, head);
}

Inspection inspect_gguf(std::span<const std::byte> bytes, const std::string& name, bool check) {
  GgufFile gguf = parse_gguf(bytes, name);
  apply_layout(gguf);
  Inspection result;
  result.name = name;
  describe_tensors(gguf.file, result);
  for (const auto& [key, value] : gguf.metadata) {
    result.metadata.emplace_back(key, std::visit([](const auto& v) { return shown(v); }, value));
  }
  if (const std::string& architecture = gguf.text("general.architecture"); architecture == "mamba3") {
    result.kind = "GGUF model";
    describe_runnable(gguf, bytes, result);
  } else {
    result.kind = "GGUF file";
    result.remark = fmt::format("running the architecture {} is not built yet", cut(architecture));
  }
  if (check) check_finite(gguf.file);
  return result;
}

Inspection inspect(const fs::path& path, bool check) {
  switch (const FileKind kind = kind_of(path)) {
    case FileKind::folder:
      return inspect_folder(path, check);
    case FileKind::gguf: {
      const MappedFile file(path);
      return inspect_gguf(file.bytes(), path.string(), check);
    }
    case FileKind::tokenizer: {
      Inspection result;
      result.name = path.string();
      result.kind = "tokenizer";
      result.tokenizer = Tokenizer::from_file(path);
      return result;
    }
    default:
      return inspect_tensors(path, kind, check);
  }
}

Tokenizer load_tokenizer(const fs::path& path) {
  switch (kind_of(path)) {
    case FileKind::tokenizer:
      return Tokenizer::from_file(path);
    case FileKind::gguf: {
      if (auto tokenizer = tokenizer_from_gguf(read_gguf(path))) return *std::move(tokenizer);
      fail(ErrorCode::not_found, "{}: the file has no tokenizer", path.string());
    }
    case FileKind::folder: {
      if (!fs::exists(path / "tokenizer.json")) {
        fail(ErrorCode::not_found, "{}: the folder holds no tokenizer.json", path.string());
      }
      return Tokenizer::from_file(path / "tokenizer.json");
    }
    default:
      fail(ErrorCode::invalid_argument,
           "{}: a file of tensors has no tokenizer, expected a model or a tokenizer.json", path.string());
  }
}

}  // namespace mamba3
