// Goldens of a layer: the mixer, its scan, the decode step.
#pragma once

#include "selftest/golden.h"
#include "selftest/implementation.h"

namespace mamba3::selftest {

/// Which way an implementation takes through the same golden.
enum class Way {
  whole,  ///< a sequence in one call, steps for all sessions together
  cut,    ///< a sequence in several calls of odd lengths
  mixed,  ///< a mixer's sequence in calls with steps between them
  apart,  ///< mixer: token by token; step: each session for itself
};

/// The outputs of a kind, by name and shape as the golden has them. What nobody wrote is NaN.
Arrays run_layer(const Implementation& implementation, const Golden& golden, Way way = Way::whole);

/// Every output against the golden; with `fast` also the ways that must agree with the whole one.
GoldenResult check_layer(const Implementation& implementation, const Golden& golden, Precision precision,
                         bool fast);

/// The golden for implementations in bfloat16: u, the parameters and the scan's vectors rounded, the outputs
/// computed from those by the float32 reference.
Golden in_bf16(Golden golden);

}  // namespace mamba3::selftest
