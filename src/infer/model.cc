#include "mamba3/model.h"

#include <algorithm>

#include "core/device_info.h"
#include "core/error.h"
#include "core/threads.h"
#include "model/network.h"

namespace mamba3 {

namespace {

bool is_quantized_model(const Checkpoint& checkpoint) {
  return std::ranges::any_of(checkpoint.tensors,
                             [](const auto& tensor) { return is_quantized(tensor.second.dtype); });
}

Model model_of(Checkpoint checkpoint, Activations activations, const DeviceChoice& device) {
  NetworkOptions options{.device = device.device, .device_index = device.index};
  options.exact = activations == Activations::exact ||
                  (activations == Activations::exact_unless_quantized && !is_quantized_model(checkpoint));
  return Model(std::make_shared<const Network>(std::move(checkpoint), options));
}

// Devices are looked at first: reading a large file takes longer.
DeviceChoice require_device(std::string_view text) {
  const DeviceChoice choice = parse_device(text);
  check_device(choice);
  return choice;
}

}  // namespace

Model Model::load(const std::filesystem::path& path, Activations activations, std::string_view device) {
  const DeviceChoice choice = require_device(device);
  return model_of(load_checkpoint(path), activations, choice);
}

Model Model::from_gguf(std::span<const std::byte> bytes, const std::string& name, Activations activations,
                       std::string_view device) {
  const DeviceChoice choice = require_device(device);
  return model_of(parse_gguf_checkpoint(bytes, name), activations, choice);
}

Model Model::random(std::string_view shape, std::uint64_t seed, std::string_view dtype,
                    Activations activations, std::string_view device) {
  const DeviceChoice choice = require_device(device);
  const auto type = dtype_named(dtype);
  if (!type || !is_float(*type)) {
    fail(ErrorCode::invalid_argument, "type is {}, expected one of {}", dtype,
         fmt::join(float_type_names(), ", "));
  }
  return model_of(random_checkpoint(shape, seed, *type), activations, choice);
}

std::string Model::name() const {
  return network_->checkpoint().name;
}
std::int64_t Model::vocab_size() const {
  return network_->config().vocab_rows();
}
std::int64_t Model::state_bytes() const {
  return network_->state_bytes();
}
bool Model::has_tokenizer() const {
  return network_->checkpoint().tokenizer.has_value();
}

const Tokenizer& Model::tokenizer() const {
  if (!has_tokenizer()) fail(ErrorCode::not_found, "{}: the model has no tokenizer (tokenizer.json)", name());
  return *network_->checkpoint().tokenizer;
}

}  // namespace mamba3
