#include "cli/options.h"

#include "cli/default_model.h"
#include "core/device_info.h"
#include "core/error.h"
#include "ops/linear/layout.h"

namespace mamba3::cli {

void add_model_option(CLI::App& command, std::string& path, const std::string& what) {
  command.add_option("-m,--model", path, what + "; the built-in model when it is not given")
      ->option_text("PATH")
      ->check([](const std::string& text) { return text.empty() ? "the path is empty" : std::string(); });
}

void add_threads_option(CLI::App& command, int& threads) {
  command.add_option("--threads", threads, "threads to use; 0, the default: one for each physical core")
      ->option_text("N");
}

void add_json_flag(CLI::App& command, bool& json) {
  command.add_flag("--json", json, "print one JSON object");
}

void add_type_option(CLI::App& command, std::string& type, const std::string& what) {
  std::vector<std::string> names;
  for (const std::string_view name : float_type_names()) {
    if (cpu::has_kernels(dtype_named(name).value()))
      names.push_back(CLI::detail::to_lower(std::string(name)));
  }
  command.add_option("--type", type, fmt::format("{} ({}; default bf16)", what, fmt::join(names, ", ")))
      ->option_text("TYPE")
      ->transform(CLI::IsMember(names, CLI::ignore_case));
}

void add_layout_option(CLI::App& command, Layout& layout) {
  command
      .add_option_function<std::string>(
          "--layout",
          [&layout](const std::string& name) { layout = name == "tiles" ? Layout::tiles : Layout::rows; },
          "of a .gguf: rows, which every program reads (default), or tiles, which only this one does and "
          "which starts sooner")
      ->option_text("LAYOUT")
      ->check(CLI::IsMember({"rows", "tiles"}));
}

DType type_named(const std::string& name) {
  return dtype_named(name).value();
}

std::span<const std::byte> require_default_model() {
  const auto bytes = default_model();
  if (bytes.empty()) {
    fail(ErrorCode::not_found, "this program was built without a default model: name one with -m");
  }
  return bytes;
}

void ModelOptions::add_to(CLI::App& command) {
  add_model_option(command, path, "model folder or .gguf file");
  add_threads_option(command, threads);
  command.add_flag("--exact", exact,
                   "float32 activations in every product: slower, and closest to the weights");
  command.add_option("--device", device, "cpu (default), cuda, or cuda:N for the N-th GPU")
      ->option_text("DEVICE");
}

void ModelOptions::apply() const {
  check_device(parse_device(device));
  set_threads(threads);
}

Model ModelOptions::load(Activations otherwise) const {
  apply();
  const Activations activations = exact ? Activations::exact : otherwise;
  return path.empty() ? Model::from_gguf(require_default_model(), kDefaultModelName, activations, device)
                      : Model::load(path, activations, device);
}

}  // namespace mamba3::cli
