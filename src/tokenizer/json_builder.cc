#include "tokenizer/json_builder.h"

#include "core/error.h"

namespace mamba3 {
namespace {

constexpr std::size_t kDeepest = 64;

}  // namespace

void JsonBuilder::parse(std::string_view text) {
  Json::sax_parse(text.begin(), text.end(), this);
}

bool JsonBuilder::key(string_t& value) {
  keys_.back() = std::move(value);
  return true;
}

bool JsonBuilder::parse_error(std::size_t, const std::string&, const nlohmann::detail::exception& error) {
  fail(ErrorCode::bad_format, "{} is not valid JSON: {}", name_, error.what());
}

bool JsonBuilder::starts(std::string_view outer, std::string_view inner) const {
  return keys_.size() == 2 && keys_[0] == outer && keys_[1] == inner;
}

bool JsonBuilder::add(Json value) {
  if (open_.empty()) {
    root_ = std::move(value);
  } else if (open_.back()->is_array()) {
    open_.back()->push_back(std::move(value));
  } else {
    (*open_.back())[keys_.back()] = std::move(value);
  }
  return true;
}

bool JsonBuilder::open(Json container) {
  if (open_.size() == kDeepest)
    fail(ErrorCode::bad_format, "{}: JSON nested more than {} deep", name_, kDeepest);
  add(std::move(container));
  Json* parent = open_.empty() ? nullptr : open_.back();
  if (parent == nullptr) {
    open_.push_back(&root_);
  } else {
    open_.push_back(parent->is_array() ? &parent->back() : &(*parent)[keys_.back()]);
  }
  keys_.emplace_back();
  return true;
}

bool JsonBuilder::close() {
  open_.pop_back();
  keys_.pop_back();
  return true;
}

}  // namespace mamba3
