// What mamba3 bench says: one JSON object, a table for people, a plot.
#pragma once

#include <string>

#include "cli/output.h"
#include "core/plot.h"
#include "infer/agreement.h"
#include "infer/measure.h"
#include "infer/workload.h"

namespace mamba3::cli {

struct BenchReport {
  const Model& model;
  const MeasureOptions& options;
  Agreement agreement;
  Workload work;
  Measurement measured;
};

Json to_json(const BenchReport& report);
std::string to_text(const BenchReport& report);
/// Rates over depth and over batch, and over the prompt's length when there are several.
Plot to_plot(const BenchReport& report);

}  // namespace mamba3::cli
