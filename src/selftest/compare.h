// How far a result is from its golden, and how far it may be.
#pragma once

#include <string>

#include "selftest/golden.h"
#include "selftest/selftest.h"

namespace mamba3::selftest {

/// Relative error in norm, angles ("...state.theta") by the largest difference on the circle, against what
/// `precision` allows this tensor. NaN on either side, or another shape, fails.
TensorResult compare(const std::string& tensor, const Array& found, const Array& golden, Precision precision);

/// Demands the same bits.
TensorResult same_bits(const std::string& tensor, const Array& found, const Array& expected);

/// What `precision` allows this tensor (README of the goldens, "Tolerances").
double allowed_error(const std::string& tensor, Precision precision);

/// The largest difference of two values.
double largest_difference(const Array& found, const Array& golden);

}  // namespace mamba3::selftest
