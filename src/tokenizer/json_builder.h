// Builds JSON values from a parser's events, so that huge parts of a file can be taken aside as they come.
#pragma once

#include <string>
#include <vector>

#include "tokenizer/json_node.h"

namespace mamba3 {

/// nlohmann's SAX interface. Throws Error(bad_format) with `name` where the text is no JSON, or nested too
/// deep: what walks the values later is recursive.
class JsonBuilder : public nlohmann::json_sax<Json> {
 public:
  explicit JsonBuilder(std::string_view name) : name_(name) {}
  void parse(std::string_view text);
  Json& root() { return root_; }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // not in JSON text
  bool key(string_t& value) override;
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) override;

 protected:
  const std::string& name() const { return name_; }
  /// Whether what starts now is the value of `root[outer][inner]`.
  bool starts(std::string_view outer, std::string_view inner) const;

 private:
  bool add(Json value);
  bool open(Json container);
  bool close();

  std::string name_;
  Json root_;
  std::vector<Json*> open_;        // the containers around what comes next
  std::vector<std::string> keys_;  // the last key of each of them (empty in arrays)
};

}  // namespace mamba3
