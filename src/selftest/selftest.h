// Does this machine compute what it should? Goldens (files, or a set built in) against an implementation.
// The files' format and their tolerances: tests/fixtures/README.md.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "selftest/golden.h"

namespace mamba3::selftest {

enum class Impl { reference, cpu, cuda };
enum class Precision { f64, f32, bf16 };

std::string_view name_of(Impl impl);                              ///< "reference", "cpu", "cuda"
std::string_view name_of(Precision precision);                    ///< "float64", "float32", "bfloat16"
std::optional<Impl> impl_named(std::string_view name);            ///< nothing when unknown
std::optional<Precision> precision_named(std::string_view name);  ///< "f64", "f32", "bf16" too

struct Options {
  Impl impl = Impl::cpu;
  Precision precision = Precision::f32;
  std::filesystem::path goldens;  ///< a golden, or a folder of them; empty: the built-in set
  std::filesystem::path models;   ///< where checkpoints of model goldens lie, if not where the golden says
};

/// One tensor. `error` is relative in norm (angles: the largest difference on the circle); where the same
/// bits are demanded, and for ids, it is the number of values that differ and `allowed` is 0.
struct TensorResult {
  std::string tensor;
  double error = 0;
  double allowed = 0;
  bool passed() const { return error <= allowed; }  ///< false for NaN
};

struct GoldenResult {
  std::string file;
  std::string kind;
  std::vector<TensorResult> tensors;
  std::string problem;  ///< why the golden could not be run; else empty
  bool passed() const;
};

struct Report {
  Impl impl = Impl::cpu;
  Precision precision = Precision::f32;
  double seconds = 0;
  std::vector<GoldenResult> goldens;
  bool passed() const;  ///< every golden, and there was one
};

/// Runs one golden. Besides its outputs, a fast implementation is run again cut into several calls (the same
/// bits are demanded) and token by token. bfloat16: inputs and parameters are rounded, and the float32
/// reference on the rounded ones is the golden; of a model on a GPU the same bits are not demanded then.
/// Throws Error: bad_format for a file that is no golden, misses a tensor or has one of another shape;
/// unsupported for a precision that the implementation does not have; not_found for a checkpoint that is not
/// there.
GoldenResult run_golden(const std::filesystem::path& path, const Options& options);
GoldenResult run_golden(const Golden& golden, const Options& options);

/// Small cases with made inputs, whose goldens the float64 reference computes on the spot.
std::vector<Golden> built_in_goldens();

/// Everything that `options.goldens` names. `on_result` hears of each golden as it is done. Files that cannot
/// be run are results with a `problem`. Throws Error when there is nothing to run or `options` do not fit
/// together.
Report run(const Options& options, const std::function<void(const GoldenResult&)>& on_result = {});

std::string to_text(const GoldenResult& result);  ///< one line, and one for each failed tensor
std::string to_text(const Report& report, bool every_tensor = false);  ///< a table for people
std::string to_json(const Report& report);                             ///< NaN becomes null

}  // namespace mamba3::selftest
