#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "selftest/selftest.h"

namespace mamba3::selftest {
namespace {

constexpr std::size_t kLongestName = 44;

/// The tensor that comes closest to failing, or fails the most: by error / allowed, NaN above all.
const TensorResult* worst_of(const GoldenResult& result) {
  const auto severity = [](const TensorResult& t) {
    if (std::isnan(t.error)) return std::numeric_limits<double>::infinity();
    return t.allowed > 0 ? t.error / t.allowed : t.passed() ? -1.0 : t.error * 1e9;
  };
  const auto worst =
      std::max_element(result.tensors.begin(), result.tensors.end(),
                       [&](const auto& a, const auto& b) { return severity(a) < severity(b); });
  return worst == result.tensors.end() ? nullptr : &*worst;
}

std::string shown(const TensorResult& t) {
  if (t.allowed > 0) return fmt::format("{:.1e} of {:.1e} allowed", t.error, t.allowed);
  return t.error == 0 ? "the same" : fmt::format("{:g} values differ, none may", t.error);
}

std::string rows(const GoldenResult& result, bool every_tensor) {
  std::string text;
  for (const TensorResult& t : result.tensors) {
    if (t.passed() && !every_tensor) continue;
    text += fmt::format("      {:6} {:<38} {}\n", t.passed() ? "ok" : "FAILED", t.tensor, shown(t));
  }
  return text;
}

std::string line(const GoldenResult& result) {
  const auto name = std::filesystem::path(result.file).filename().string();
  const auto head =
      fmt::format("{:6} {:<5} {:<{}}", result.passed() ? "ok" : "FAILED", result.kind, name, kLongestName);
  if (!result.problem.empty()) return fmt::format("{}  not run: {}\n", head, result.problem);
  const TensorResult* worst = worst_of(result);
  return worst == nullptr ? head + "  nothing compared\n"
                          : fmt::format("{}  {}: {}\n", head, worst->tensor, shown(*worst));
}

}  // namespace

std::string to_text(const GoldenResult& result) {
  return line(result) + rows(result, false);
}

std::string to_text(const Report& report, bool every_tensor) {
  std::string text;
  for (const GoldenResult& golden : report.goldens) text += line(golden) + rows(golden, every_tensor);
  const auto failed =
      std::count_if(report.goldens.begin(), report.goldens.end(), [](const auto& g) { return !g.passed(); });
  return text + fmt::format("{} in {}: {} of {} goldens passed in {:.1f} s\n", name_of(report.impl),
                            name_of(report.precision),
                            report.goldens.size() - static_cast<std::size_t>(failed), report.goldens.size(),
                            report.seconds);
}

std::string to_json(const Report& report) {
  auto goldens = nlohmann::ordered_json::array();
  for (const GoldenResult& golden : report.goldens) {
    auto tensors = nlohmann::ordered_json::array();
    for (const TensorResult& t : golden.tensors) {
      tensors.push_back(
          {{"tensor", t.tensor}, {"error", t.error}, {"allowed", t.allowed}, {"passed", t.passed()}});
    }
    goldens.push_back({{"file", golden.file}, {"kind", golden.kind}, {"passed", golden.passed()}});
    goldens.back()["tensors"] = std::move(tensors);
    if (!golden.problem.empty()) goldens.back()["problem"] = golden.problem;
  }
  nlohmann::ordered_json json = {{"impl", name_of(report.impl)},
                                 {"precision", name_of(report.precision)},
                                 {"passed", report.passed()},
                                 {"seconds", report.seconds}};
  json["goldens"] = std::move(goldens);
  return json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace mamba3::selftest
