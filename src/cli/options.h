// Options that several commands share.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "core/dtype.h"
#include "mamba3/model.h"
#include "model/rows.h"

namespace mamba3::cli {

/// -m, --threads, --exact and --device.
struct ModelOptions {
  std::string path;  ///< empty: the built-in model
  int threads = 0;
  std::string device = "cpu";
  bool exact = false;

  void add_to(CLI::App& command);
  /// `otherwise`: the activations without --exact.
  Model load(Activations otherwise = Activations::rounded) const;
  void apply() const;  ///< threads and device, for a command that makes its own model
};

/// Adds `-m`, `--model`.
void add_model_option(CLI::App& command, std::string& path, const std::string& what);
void add_json_flag(CLI::App& command, bool& json);

inline constexpr const char* kDefaultModelName = "built-in model";

void add_threads_option(CLI::App& command, int& threads);

/// Throws Error(not_found) when the program has none.
std::span<const std::byte> require_default_model();

/// Adds `--layout`: rows or tiles.
void add_layout_option(CLI::App& command, Layout& layout);

/// Adds `--type`: the name, in any letter case, of a type that there are products for.
void add_type_option(CLI::App& command, std::string& type, const std::string& what);
DType type_named(const std::string& name);  ///< precondition: add_type_option let it pass

}  // namespace mamba3::cli
