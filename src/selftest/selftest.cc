#include "selftest/selftest.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <system_error>

#include "core/error.h"
#include "selftest/implementation.h"
#include "selftest/layer_goldens.h"
#include "selftest/model_goldens.h"

namespace mamba3::selftest {
namespace {

bool is_golden_name(const std::string& name) {
  constexpr std::array<std::string_view, 4> kKinds = {"mixer-", "scan-", "step-", "model-"};
  return name.ends_with(".safetensors") &&
         std::any_of(kKinds.begin(), kKinds.end(), [&](auto kind) { return name.starts_with(kind); });
}

std::vector<std::filesystem::path> goldens_in(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return {path};
  std::vector<std::filesystem::path> found;
  for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    if (is_golden_name(entry->path().filename().string())) found.push_back(entry->path());
  }
  if (error) fail(ErrorCode::io, "{}: cannot be listed: {}", path.string(), error.message());
  if (found.empty()) {
    fail(ErrorCode::not_found, "{}: the folder holds no golden (mixer-, scan-, step- or model-*.safetensors)",
         path.string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// A golden that cannot be run does not keep the others from running.
template <typename RunGolden>
GoldenResult attempt(const std::string& name, RunGolden&& run_one) {
  try {
    return run_one();
  } catch (const Error& error) {
    return {name, "", {}, error.what()};
  }
}

/// As many of `calls` as fit into `tokens`, and the rest in one.
Calls shortened(const Calls& calls, std::int64_t tokens) {
  Calls result;
  for (const Call& call : calls) {
    if (tokens <= call.tokens) break;
    result.push_back(call);
    tokens -= call.tokens;
  }
  result.push_back({tokens});
  return result;
}

}  // namespace

Calls cut_in_calls(std::int64_t tokens) {
  return shortened({{1}, {17}, {47}}, tokens);
}

Calls calls_and_steps(std::int64_t tokens) {
  return shortened({{5}, {9, true}, {53}, {2, true}}, tokens);
}

std::string_view name_of(Impl impl) {
  return impl == Impl::cpu ? "cpu" : impl == Impl::cuda ? "cuda" : "reference";
}

std::string_view name_of(Precision precision) {
  return precision == Precision::f64 ? "float64" : precision == Precision::f32 ? "float32" : "bfloat16";
}

std::optional<Impl> impl_named(std::string_view name) {
  if (name == "cpu") return Impl::cpu;
  if (name == "cuda") return Impl::cuda;
  if (name == "reference") return Impl::reference;
  return std::nullopt;
}

std::optional<Precision> precision_named(std::string_view name) {
  if (name == "float64" || name == "f64") return Precision::f64;
  if (name == "float32" || name == "f32") return Precision::f32;
  if (name == "bfloat16" || name == "bf16") return Precision::bf16;
  return std::nullopt;
}

bool GoldenResult::passed() const {
  return problem.empty() && !tensors.empty() &&
         std::all_of(tensors.begin(), tensors.end(), [](const TensorResult& t) { return t.passed(); });
}

bool Report::passed() const {
  return !goldens.empty() &&
         std::all_of(goldens.begin(), goldens.end(), [](const auto& g) { return g.passed(); });
}

std::unique_ptr<Implementation> make_implementation(Impl impl, Precision precision) {
  if (impl == Impl::cpu && precision != Precision::f64) return make_fast(Device::cpu, precision);
  if (impl == Impl::cuda && precision != Precision::f64) return make_fast(Device::cuda, precision);
  if (impl == Impl::reference && precision == Precision::f32) return make_reference<float>();
  if (impl == Impl::reference && precision == Precision::f64) return make_reference<double>();
  fail(ErrorCode::unsupported,
       "the {} implementation has no {}: cpu and cuda have float32 and bfloat16, reference has float32 and "
       "float64",
       name_of(impl), name_of(precision));
}

GoldenResult run_golden(const Golden& golden, const Options& options) {
  const auto implementation = make_implementation(options.impl, options.precision);
  const bool fast = options.impl != Impl::reference;  // the reference takes the same way however it is called
  if (golden.kind == "model") return check_model(*implementation, golden, options, fast);
  if (options.precision != Precision::bf16)
    return check_layer(*implementation, golden, options.precision, fast);
  return check_layer(*implementation, in_bf16(golden), options.precision, fast);
}

GoldenResult run_golden(const std::filesystem::path& path, const Options& options) {
  return run_golden(read_golden(read_safetensors(path)), options);
}

Report run(const Options& options, const std::function<void(const GoldenResult&)>& on_result) {
  make_implementation(options.impl, options.precision);
  const auto start = std::chrono::steady_clock::now();
  Report report{options.impl, options.precision, 0, {}};
  const auto add = [&](GoldenResult result) {
    report.goldens.push_back(std::move(result));
    if (on_result) on_result(report.goldens.back());
  };
  if (options.goldens.empty()) {
    for (const Golden& golden : built_in_goldens()) {
      add(attempt(golden.name, [&] { return run_golden(golden, options); }));
    }
  } else {
    for (const auto& path : goldens_in(options.goldens)) {
      add(attempt(path.string(), [&] { return run_golden(path, options); }));
    }
  }
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace mamba3::selftest
