// A JSON value that knows where it stands, so that every wrong type gets a sentence with its place.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace mamba3 {

using Json = nlohmann::json;

/// Parses; throws Error(bad_format) with `name` when it is no JSON, or nested more than 64 deep.
Json parse_json(std::string_view text, std::string_view name);

/// A short text of a value for messages: numbers and strings themselves, of others the kind.
std::string shown(const Json& value);

/// A view: the JSON outlives it. Each accessor throws Error(bad_format) when the value is of another type.
class JsonNode {
 public:
  /// `where` is the file's name, or the file's name and the path inside it.
  JsonNode(const Json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const Json& json() const { return *value_; }
  const std::string& where() const { return where_; }
  bool is_null() const { return value_->is_null(); }

  bool has(std::string_view key) const;  ///< there, and not null. Of objects.
  JsonNode at(std::string_view key) const;
  JsonNode item(std::size_t index) const;  ///< precondition: of an array, in range
  std::size_t array_size() const;          ///< also checks that it is an array

  const std::string& string() const;
  bool boolean() const;
  std::int64_t integer() const;
  bool flag(std::string_view key, bool otherwise) const { return has(key) ? at(key).boolean() : otherwise; }

 private:
  [[noreturn]] void wrong(std::string_view expected) const;
  const Json& object() const;

  const Json* value_;
  std::string where_;
};

}  // namespace mamba3
