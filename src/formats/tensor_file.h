// Tensors by name, read from a file that stays mapped.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace mamba3 {

/// A tensor of a type that we know by name alone.
struct ForeignTensor {
  std::string type;  ///< "Q2_K"
  Shape shape;
  std::int64_t bytes = 0;
};

/// Views into `owners` (mappings, and buffers for tensors whose strides had to be undone).
struct TensorFile {
  std::string name;    ///< for messages: the path as given
  std::string format;  ///< "safetensors", "torch", ...
  std::map<std::string, TensorView> tensors;
  std::map<std::string, ForeignTensor> foreign{};  ///< GGUF's other types: there, but nobody can read them
  std::map<std::string, std::string> metadata;     ///< safetensors' __metadata__
  std::vector<std::shared_ptr<const void>> owners;
};

/// One .safetensors file. Throws Error(bad_format) naming the file and the tensor.
TensorFile read_safetensors(const std::filesystem::path& path);
TensorFile parse_safetensors(std::span<const std::byte> bytes,
                             std::string_view name);  ///< views into `bytes`

/// A torch.save zip: data.pkl through a closed pickle interpreter, storages mapped in place.
TensorFile read_torch(const std::filesystem::path& path);
TensorFile parse_torch(std::span<const std::byte> bytes, std::string_view name);
/// Compares the CRC-32 of every member with the zip directory's. Throws Error(bad_format).
void check_torch_sums(std::span<const std::byte> bytes, std::string_view name);

/// The weights of an official folder: model.safetensors, pytorch_model.bin, or the shards of
/// model.safetensors.index.json / pytorch_model.bin.index.json.
TensorFile read_weights_folder(const std::filesystem::path& folder);

/// Writes a .safetensors file atomically. `tensors` in writing order; data is asked for one tensor at a time.
struct TensorToWrite {
  std::string name;
  DType dtype;
  Shape shape;
};
/// Fills `out` (the tensor's bytes) for tensor `index`.
using FillTensor = std::function<void(std::size_t index, std::span<std::byte> out)>;
void write_safetensors(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors,
                       const FillTensor& fill, const std::map<std::string, std::string>& metadata = {});

}  // namespace mamba3
