// What was measured, for people and for programs.
#pragma once

#include <string>
#include <vector>

#include "bench/bench.h"

namespace mamba3::bench {

/// What the device can do at most, in bytes and operations a second (ops/ceiling/ceiling_cuda.h).
struct Machine {
  std::string name;
  double copy = 0, read = 0, matrix = 0;
};

struct Line {
  const Row* row;
  Found found = {};
  std::string failure = {};  ///< a sentence; empty: none
};

bool failed(const Line& line);

/// The table's parts, so that lines can be printed as they come.
std::string heading(const Machine& machine);
std::string to_text(const Line& line, const Machine& machine);

std::string to_json(const std::vector<Line>& lines, const Machine& machine);

}  // namespace mamba3::bench
