#include "bench/report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/statistics.h"

namespace mamba3::bench {
namespace {

constexpr const char* kColumns = "{:<52} {:>9} {:>9} {:>19} {:>6} {:>9} {:>5} {:>5} {:>9} {:>5} {:>8}\n";

// Three digits, in the unit that suits the value.
std::string shown(double value, bool is_ratio) {
  if (is_ratio) return fmt::format("{:.3f}", value);
  if (value >= 1) return fmt::format("{:.2f} s", value);
  if (value >= 1e-3) return fmt::format("{:.{}f} ms", 1e3 * value, value >= 0.1 ? 0 : value >= 0.01 ? 1 : 2);
  return fmt::format("{:.{}f} us", 1e6 * value, value >= 1e-4 ? 0 : 1);
}

std::string share(double amount, double seconds, double ceiling) {
  return amount == 0 ? "" : fmt::format("{:.0f}%", 100 * amount / seconds / ceiling);
}

}  // namespace

bool failed(const Line& line) {
  return !line.failure.empty() || !line.found.check.holds() || line.found.values.empty();
}

std::string heading(const Machine& m) {
  return fmt::format("{}: copies {:.2f} TB/s, reads {:.2f} TB/s, bf16 products {:.0f} TFLOP/s\n", m.name,
                     1e-12 * m.copy, 1e-12 * m.read, 1e-12 * m.matrix) +
         fmt::format(kColumns, "figure", "target", "reached", "(least..most)", "factor", "MB", "copy", "read",
                     "GFLOP", "bf16", "error");
}

std::string to_text(const Line& line, const Machine& m) {
  const Row& row = *line.row;
  const Found& found = line.found;
  const std::string target = row.target == 0 ? "" : shown(row.target, row.is_ratio);
  if (failed(line)) {
    const std::string why = line.failure.empty() ? fmt::format("off by {:.1e}, allowed: {:.1e}",
                                                               found.check.error, found.check.allowed)
                                                 : line.failure;
    return fmt::format("{:<52} {:>9}    FAILED: {}\n", row.what, target, why);
  }
  const Spread spread = spread_of(found.values);
  const double reached = spread.median;
  const auto amount = [](double value, double unit) {
    return value == 0 ? std::string() : fmt::format("{:.4g}", value * unit);
  };
  return fmt::format(
      kColumns, row.what, target, shown(reached, row.is_ratio),
      fmt::format("({}..{})", shown(spread.least, row.is_ratio), shown(spread.most, row.is_ratio)),
      row.target == 0 ? "" : fmt::format("{:.2f}", row.target / reached), amount(found.bytes, 1e-6),
      share(found.bytes, reached, m.copy), share(found.bytes, reached, m.read),
      amount(found.operations, 1e-9), share(found.operations, reached, m.matrix),
      fmt::format("{:.1e}", found.check.error));
}

std::string to_json(const std::vector<Line>& lines, const Machine& m) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Line& line : lines) {
    nlohmann::ordered_json row = {{"name", line.row->name},
                                  {"what", line.row->what},
                                  {"unit", line.row->is_ratio ? "1" : "s"},
                                  {"failed", failed(line)}};
    if (line.row->target != 0) row["target"] = line.row->target;
    if (!line.failure.empty()) row["failure"] = line.failure;
    if (!line.found.values.empty()) {
      const Spread spread = spread_of(line.found.values);
      row["median"] = spread.median;
      row["least"] = spread.least;
      row["most"] = spread.most;
      row["samples"] = line.found.values.size();
      if (line.row->target != 0) row["factor"] = line.row->target / spread.median;
    }
    row["bytes"] = line.found.bytes;
    row["operations"] = line.found.operations;
    row["error"] = line.found.check.error;
    row["allowed_error"] = line.found.check.allowed;
    rows.push_back(std::move(row));
  }
  const nlohmann::ordered_json all = {{"device", m.name},
                                      {"copy_bytes_per_second", m.copy},
                                      {"read_bytes_per_second", m.read},
                                      {"bf16_operations_per_second", m.matrix},
                                      {"rows", std::move(rows)}};
  return all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace mamba3::bench
