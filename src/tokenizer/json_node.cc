#include "tokenizer/json_node.h"

#include <limits>

#include "core/error.h"
#include "tokenizer/json_builder.h"

namespace mamba3 {

Json parse_json(std::string_view text, std::string_view name) {
  JsonBuilder builder(name);
  builder.parse(text);
  return std::move(builder.root());
}

std::string shown(const Json& value) {
  if (value.is_structured()) return fmt::format("an {} of {}", value.type_name(), value.size());
  std::string text = value.dump(-1, ' ', true);
  constexpr std::size_t kLongest = 60;
  if (text.size() > kLongest) text.replace(kLongest, std::string::npos, "...");
  return text;
}

void JsonNode::wrong(std::string_view expected) const {
  fail(ErrorCode::bad_format, "{} is {}, expected {}", where_, shown(*value_), expected);
}

const Json& JsonNode::object() const {
  if (!value_->is_object()) wrong("an object");
  return *value_;
}

bool JsonNode::has(std::string_view key) const {
  const auto found = object().find(key);
  return found != value_->end() && !found->is_null();
}

JsonNode JsonNode::at(std::string_view key) const {
  const auto found = object().find(key);
  if (found == value_->end()) fail(ErrorCode::bad_format, "{} has no {}", where_, key);
  const bool top = where_.find(": ") == std::string::npos;
  return {*found, fmt::format("{}{}{}", where_, top ? ": " : ".", key)};
}

JsonNode JsonNode::item(std::size_t index) const {
  return {(*value_)[index], fmt::format("{}[{}]", where_, index)};
}

std::size_t JsonNode::array_size() const {
  if (!value_->is_array()) wrong("an array");
  return value_->size();
}

const std::string& JsonNode::string() const {
  if (!value_->is_string()) wrong("a string");
  return value_->get_ref<const std::string&>();
}

bool JsonNode::boolean() const {
  if (!value_->is_boolean()) wrong("true or false");
  return value_->get<bool>();
}

std::int64_t JsonNode::integer() const {
  if (!value_->is_number_integer()) wrong("an integer");
  constexpr auto kLargest = std::numeric_limits<std::int64_t>::max();
  if (value_->is_number_unsigned() && value_->get<std::uint64_t>() > std::uint64_t{kLargest})
    wrong("an integer of 64 bits");
  return value_->get<std::int64_t>();
}

}  // namespace mamba3
