// GGUF v3: metadata and tensors in one file (the format of ggml and llama.cpp).
// Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/tensor.h"
#include "formats/tensor_file.h"

namespace mamba3 {

/// The scalar types in the order of their numbers in the file, then the arrays of each in the same order.
using GgufValue =
    std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t, std::int32_t, float,
                 bool, std::string, std::uint64_t, std::int64_t, double, std::vector<std::uint8_t>,
                 std::vector<std::int8_t>, std::vector<std::uint16_t>, std::vector<std::int16_t>,
                 std::vector<std::uint32_t>, std::vector<std::int32_t>, std::vector<float>, std::vector<bool>,
                 std::vector<std::string>, std::vector<std::uint64_t>, std::vector<std::int64_t>,
                 std::vector<double>>;

using GgufMetadata = std::vector<std::pair<std::string, GgufValue>>;

/// Metadata in file order and tensors as views. GGUF's `ne` order (innermost first) is turned into Shape's
/// (outermost first). Strings hold any bytes.
///
/// find_X gives nothing when the key is absent; X asks for a key that must be there. Both throw
/// Error(bad_format) with the file, the key, the type expected and the one found.
struct GgufFile {
  GgufMetadata metadata;
  TensorFile file;  ///< format "gguf"

  const GgufValue* find(std::string_view key) const;  ///< null when absent

  std::optional<std::int64_t> find_integer(std::string_view key) const;  ///< any integer type, if it fits
  std::optional<double> find_real(std::string_view key) const;           ///< any float or integer type
  std::optional<bool> find_flag(std::string_view key) const;
  const std::string* find_text(std::string_view key) const;
  std::optional<std::vector<std::int64_t>> find_integers(std::string_view key) const;
  std::optional<std::vector<double>> find_reals(std::string_view key) const;
  const std::vector<std::string>* find_texts(std::string_view key) const;

  std::int64_t integer(std::string_view key) const;
  double real(std::string_view key) const;
  bool flag(std::string_view key) const;
  const std::string& text(std::string_view key) const;
  std::vector<std::int64_t> integers(std::string_view key) const;
  std::vector<double> reals(std::string_view key) const;
  const std::vector<std::string>& texts(std::string_view key) const;

  /// One integer for each of `layers` layers, from an array of that length or from one integer for all.
  std::vector<std::int64_t> per_layer(std::string_view key, std::int64_t layers) const;
};

/// Maps the file; the tensors are views into the mapping, which the result owns. Throws Error: not_found or
/// io, bad_format (the fault and the key or tensor named), unsupported (version 1, big-endian files).
/// Tensors of ggml's types that have no DType are checked as all others and listed as `foreign`.
GgufFile read_gguf(const std::filesystem::path& path);

/// The same from memory: views into `bytes`, which must outlive the result; `name` stands for the file in
/// messages.
GgufFile parse_gguf(std::span<const std::byte> bytes, std::string_view name);

/// Writes version 3 atomically, every tensor aligned to 64 bytes; general.alignment is set accordingly, in
/// its place or at the end. Equal input gives equal bytes. `fill` is asked for one tensor at a time, in
/// order. Throws Error: io; invalid_argument for names that repeat or that llama.cpp cannot hold (64 bytes or
/// more), more than four axes, or rows that are not whole blocks; unsupported for element types GGUF does not
/// have.
void write_gguf(const std::filesystem::path& path, const GgufMetadata& metadata,
                const std::vector<TensorToWrite>& tensors, const FillTensor& fill);

}  // namespace mamba3
