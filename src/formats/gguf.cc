#include "formats/gguf.h"

#include <algorithm>
#include <concepts>
#include <optional>
#include <utility>

#include "core/error.h"
#include "formats/gguf_types.h"
#include "formats/shown.h"

namespace mamba3 {
namespace {

template <typename T>
concept Integer = std::integral<T> && !std::same_as<T, bool>;

template <typename T>
concept Real = std::floating_point<T> || Integer<T>;

bool fits(const auto& value) {
  return std::in_range<std::int64_t>(value);
}

/// Some key is always asked for with the type it should have.
std::string described(const GgufValue& value) {
  const std::string_view type = gguf::value_type(value).name;
  return gguf::is_array(value) ? fmt::format("array of {}", type) : std::string(type);
}

[[noreturn]] void wrong_type(const GgufFile& gguf, std::string_view key, std::string_view expected) {
  fail(ErrorCode::bad_format, "{}: key {} should be {}, but is of type {}", gguf.file.name, shown(key),
       expected, described(*gguf.find(key)));
}

/// `convert` gives an optional: nothing for a value of the wrong type.
template <typename Convert>
auto converted(const GgufFile& gguf, std::string_view key, std::string_view expected, Convert convert) {
  const GgufValue* value = gguf.find(key);
  if (value == nullptr) return decltype(std::visit(convert, *value)){};
  auto result = std::visit(convert, *value);
  if (!result) wrong_type(gguf, key, expected);
  return result;
}

/// The value of exactly this type.
template <typename T>
const T* stored(const GgufFile& gguf, std::string_view key, std::string_view expected) {
  const GgufValue* value = gguf.find(key);
  if (value == nullptr) return nullptr;
  const T* found = std::get_if<T>(value);
  if (found == nullptr) wrong_type(gguf, key, expected);
  return found;
}

/// What an optional or a pointer holds.
template <typename Found>
decltype(auto) required(const GgufFile& gguf, std::string_view key, Found&& found) {
  if (!found) fail(ErrorCode::bad_format, "{}: key {} is missing", gguf.file.name, shown(key));
  return *std::forward<Found>(found);
}

}  // namespace

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = std::ranges::find(metadata, key, [](const auto& entry) { return entry.first; });
  return found == metadata.end() ? nullptr : &found->second;
}

std::optional<std::int64_t> GgufFile::find_integer(std::string_view key) const {
  const auto convert = []<typename T>(const T& value) -> std::optional<std::int64_t> {
    if constexpr (Integer<T>) {
      if (fits(value)) return static_cast<std::int64_t>(value);
    }
    return std::nullopt;
  };
  return converted(*this, key, "an integer below 2^63", convert);
}

std::optional<double> GgufFile::find_real(std::string_view key) const {
  const auto convert = []<typename T>(const T& value) -> std::optional<double> {
    if constexpr (Real<T>) return static_cast<double>(value);
    return std::nullopt;
  };
  return converted(*this, key, "a number", convert);
}

std::optional<std::vector<std::int64_t>> GgufFile::find_integers(std::string_view key) const {
  const auto convert = []<typename T>(const T& values) -> std::optional<std::vector<std::int64_t>> {
    if constexpr (requires { requires Integer<typename T::value_type>; } && !std::same_as<T, std::string>) {
      if (std::ranges::all_of(values, [](auto value) { return fits(value); })) {
        return std::vector<std::int64_t>(values.begin(), values.end());
      }
    }
    return std::nullopt;
  };
  return converted(*this, key, "an array of integers below 2^63", convert);
}

std::optional<std::vector<double>> GgufFile::find_reals(std::string_view key) const {
  const auto convert = []<typename T>(const T& values) -> std::optional<std::vector<double>> {
    if constexpr (requires { requires Real<typename T::value_type>; } && !std::same_as<T, std::string>) {
      return std::vector<double>(values.begin(), values.end());
    }
    return std::nullopt;
  };
  return converted(*this, key, "an array of numbers", convert);
}

std::optional<bool> GgufFile::find_flag(std::string_view key) const {
  const bool* found = stored<bool>(*this, key, "a bool");
  return found == nullptr ? std::nullopt : std::optional(*found);
}

const std::string* GgufFile::find_text(std::string_view key) const {
  return stored<std::string>(*this, key, "a string");
}

const std::vector<std::string>* GgufFile::find_texts(std::string_view key) const {
  return stored<std::vector<std::string>>(*this, key, "an array of strings");
}

std::int64_t GgufFile::integer(std::string_view key) const {
  return required(*this, key, find_integer(key));
}
double GgufFile::real(std::string_view key) const {
  return required(*this, key, find_real(key));
}
bool GgufFile::flag(std::string_view key) const {
  return required(*this, key, find_flag(key));
}
const std::string& GgufFile::text(std::string_view key) const {
  return required(*this, key, find_text(key));
}

std::vector<std::int64_t> GgufFile::integers(std::string_view key) const {
  return required(*this, key, find_integers(key));
}

std::vector<double> GgufFile::reals(std::string_view key) const {
  return required(*this, key, find_reals(key));
}

const std::vector<std::string>& GgufFile::texts(std::string_view key) const {
  return required(*this, key, find_texts(key));
}

std::vector<std::int64_t> GgufFile::per_layer(std::string_view key, std::int64_t layers) const {
  const GgufValue* value = find(key);
  if (value == nullptr || !gguf::is_array(*value)) {
    return std::vector<std::int64_t>(static_cast<std::size_t>(layers), integer(key));
  }
  std::vector<std::int64_t> values = integers(key);
  if (std::ssize(values) != layers) {
    fail(ErrorCode::bad_format, "{}: key {} has {} values, expected one for each of {} layers", file.name,
         shown(key), values.size(), layers);
  }
  return values;
}

}  // namespace mamba3
