#include "selftest/golden.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <string_view>

#include "core/dtype.h"
#include "core/error.h"
#include "model/config.h"

namespace mamba3::selftest {
namespace {

bool is_gradient(std::string_view tensor) {
  return tensor.starts_with("grad.") || tensor.starts_with("state_grad.") || tensor.starts_with("d_");
}

Array array_of(const TensorView& tensor, const std::string& file, const std::string& name) {
  Array array{tensor.shape, std::vector<double>(static_cast<std::size_t>(tensor.elements()))};
  if (tensor.dtype == DType::i32) {
    for (std::size_t i = 0; i < array.values.size(); ++i) {
      std::int32_t value;
      std::memcpy(&value, &tensor.bytes[i * sizeof value], sizeof value);
      array.values[i] = value;
    }
  } else if (is_float(tensor.dtype)) {
    to_double(tensor.dtype, tensor.bytes.data(), tensor.elements(), array.values.data());
  } else {
    fail(ErrorCode::bad_format, "{}: {} is of type {}, expected floating point or I32", file, name,
         name_of(tensor.dtype));
  }
  return array;
}

/// A golden's `config` has the fields of an official ssm_cfg, and d_model.
Mamba3Config mixer_config(nlohmann::json fields, const std::string& file) {
  nlohmann::json official = {{"n_layer", 1}, {"vocab_size", 1}, {"d_model", fields.value("d_model", 0)}};
  fields.erase("d_model");
  fields["layer"] = "Mamba3";
  official["ssm_cfg"] = std::move(fields);
  return parse_config(official.dump(), file).mixer;
}

void read_about(const TensorFile& file, Golden& golden) {
  const auto about = file.metadata.find("about");
  if (about == file.metadata.end()) {
    fail(ErrorCode::bad_format, "{}: this is no golden: its metadata has no `about`", file.name);
  }
  try {
    const auto fields = nlohmann::json::parse(about->second);
    golden.kind = fields.at("kind");
    if (golden.kind == "model") {
      golden.checkpoint = fields.at("checkpoint");
    } else {
      golden.config = mixer_config(fields.at("config"), file.name);
    }
  } catch (const nlohmann::json::exception& e) {
    fail(ErrorCode::bad_format, "{}: the metadata `about` does not describe a golden: {}", file.name,
         e.what());
  }
}

}  // namespace

const Array& Golden::at(const std::string& tensor) const {
  const auto found = tensors.find(tensor);
  if (found == tensors.end()) {
    fail(ErrorCode::bad_format, "{}: the tensor {} is missing, a golden of kind {} needs it", name, tensor,
         kind);
  }
  return found->second;
}

const std::vector<double>& Golden::values(const std::string& tensor, const Shape& shape) const {
  const Array& array = at(tensor);
  if (array.shape != shape) {
    fail(ErrorCode::bad_format, "{}: {} has the shape [{}], expected [{}]", name, tensor,
         fmt::join(array.shape, ", "), fmt::join(shape, ", "));
  }
  return array.values;
}

Golden read_golden(const TensorFile& file) {
  Golden golden;
  golden.name = file.name;
  read_about(file, golden);
  for (const auto& [name, tensor] : file.tensors) {
    if (!is_gradient(name)) golden.tensors.emplace(name, array_of(tensor, file.name, name));
  }
  return golden;
}

}  // namespace mamba3::selftest
