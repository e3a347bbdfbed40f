#include "formats/safetensors_header.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/error.h"
#include "formats/shown.h"

namespace mamba3 {
namespace {

/// Follows the header event by event, so that neither nesting nor unexpected values are ever stored.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(std::string_view file) : file_(file) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool start_object(std::size_t) override {
    if (place_ == Place::outside) return enter(Place::root);
    if (place_ != Place::root) unexpected("an object");
    if (name_ == kSafetensorsMetadata) return enter(Place::metadata);
    header_.entries.push_back({.name = name_, .dtype = {}, .shape = {}});
    seen_ = {};
    return enter(Place::tensor);
  }

  bool key(std::string& text) override {
    if (place_ == Place::root) {
      if (!names_.insert(text).second) bad("the name {} occurs twice in the header", shown(text));
      name_ = text;
    } else {
      if (!seen_.insert(text).second) bad("{} has the field {} twice", subject(), shown(text));
      if (place_ == Place::tensor && text != "dtype" && text != "shape" && text != "data_offsets") {
        bad("{} has the unknown field {}", subject(), shown(text));
      }
      field_ = text;
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::root) return enter(Place::outside);
    if (place_ == Place::tensor && seen_.size() < 3) {
      bad("{} needs dtype, shape and data_offsets, found only {} of them", subject(), seen_.size());
    }
    seen_ = {};
    return enter(Place::root);
  }

  bool string(std::string& text) override {
    if (place_ == Place::metadata) {
      header_.metadata.emplace(field_, text);
    } else if (place_ == Place::tensor && field_ == "dtype") {
      header_.entries.back().dtype = text;
    } else {
      unexpected("a string");
    }
    return true;
  }

  bool start_array(std::size_t) override {
    if (place_ != Place::tensor || (field_ != "shape" && field_ != "data_offsets")) unexpected("an array");
    numbers_.clear();
    return enter(Place::numbers);
  }

  bool number_unsigned(std::uint64_t value) override {
    if (place_ != Place::numbers) unexpected(fmt::format("the number {}", value));
    if (value > std::numeric_limits<std::int64_t>::max()) {
      bad("{}: {} holds {}, which does not fit in 63 bits", subject(), field_, value);
    }
    if (numbers_.size() == kMaxSafetensorsAxes) {
      bad("{}: {} has more than {} numbers", subject(), field_, kMaxSafetensorsAxes);
    }
    numbers_.push_back(static_cast<std::int64_t>(value));
    return true;
  }

  bool end_array() override {
    SafetensorsEntry& entry = header_.entries.back();
    if (field_ == "shape") {
      entry.shape = numbers_;
    } else {
      if (numbers_.size() != 2)
        bad("{}: data_offsets has {} numbers, expected 2", subject(), numbers_.size());
      entry.begin = numbers_[0];
      entry.end = numbers_[1];
    }
    return enter(Place::tensor);
  }

  bool number_integer(std::int64_t value) override { unexpected(fmt::format("the number {}", value)); }
  bool number_float(double, const std::string& text) override { unexpected("the number " + shown(text)); }
  bool null() override { unexpected("null"); }
  bool boolean(bool value) override { unexpected(value ? "true" : "false"); }
  bool binary(nlohmann::json::binary_t&) override { unexpected("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    bad("the header is not JSON in UTF-8 (at its byte {})", position);
  }

 private:
  enum class Place { outside, root, metadata, tensor, numbers };

  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> text, Args&&... args) const {
    fail(ErrorCode::bad_format, "{}: {}", file_, fmt::format(text, std::forward<Args>(args)...));
  }

  [[noreturn]] void unexpected(std::string_view found) const {
    switch (place_) {
      case Place::outside:
        bad("expected a header that is an object, found {}", found);
      case Place::root:
        bad("expected an object for {}, found {}", shown(name_), found);
      case Place::metadata:
        bad("{}: expected a string for {}, found {}", name_, shown(field_), found);
      case Place::tensor:
        bad("{}: {} is {}", subject(), field_, found);
      case Place::numbers:
        break;
    }
    bad("{}: {} holds {}, expected numbers from 0", subject(), field_, found);
  }

  std::string subject() const { return (name_ == kSafetensorsMetadata ? "" : "tensor ") + shown(name_); }

  bool enter(Place place) {
    place_ = place;
    return true;
  }

  std::string_view file_;
  SafetensorsHeader header_;
  Place place_ = Place::outside;
  std::set<std::string> names_;  ///< of the root
  std::set<std::string> seen_;   ///< fields of the current tensor or of the metadata
  std::string name_;
  std::string field_;
  std::vector<std::int64_t> numbers_;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, std::string_view file) {
  // The JSON reader takes a zero byte for the end of the text.
  if (const auto zero = text.find('\0'); zero != text.npos) {
    fail(ErrorCode::bad_format, "{}: the header is not JSON in UTF-8 (at its byte {})", file, zero + 1);
  }
  HeaderReader reader(file);
  nlohmann::json::sax_parse(text.begin(), text.end(), &reader);
  return reader.take();
}

}  // namespace mamba3
