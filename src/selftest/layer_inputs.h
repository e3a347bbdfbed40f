// What the golden of a layer holds: sequences, parameters, states. Every function throws Error(bad_format)
// for a tensor that is missing or of another shape.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "selftest/golden.h"
#include "selftest/implementation.h"

namespace mamba3::selftest {

/// Tokens [begin, end) of the flattened [B, T] that are one sequence.
struct Sequence {
  std::int64_t begin;
  std::int64_t end;
  std::int64_t tokens() const { return end - begin; }
};

/// Those of cu_seqlens, else one for each of `batch` rows.
std::vector<Sequence> sequences_of(const Golden& golden, std::int64_t batch, std::int64_t tokens);

/// Sizes of the first `count` axes of a tensor that has `axes`, none of them empty.
std::vector<std::int64_t> leading_sizes(const Golden& golden, const std::string& tensor, std::size_t axes,
                                        std::size_t count);

Params mixer_params(const Golden& golden);  ///< of kinds "mixer" and "step": param.*
Params scan_params(const Golden& golden);   ///< of kind "scan": D and, for MIMO, mimo_*

/// The parts of a state with their shapes for one sequence, in one order.
struct StatePart {
  const char* name;
  Values State::*values;
  Shape shape;
};

std::array<StatePart, 4> state_parts(const Mamba3Config& config);

/// state0 of every sequence; zeros when the golden has none.
std::vector<State> start_states(const Golden& golden, std::int64_t count);

Shape prepended(const Shape& front, const Shape& shape);

}  // namespace mamba3::selftest
