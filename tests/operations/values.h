// Inputs, poisoned outputs and comparisons.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numbers>
#include <random>
#include <span>
#include <vector>

#include "ops/linear/pack.h"

namespace mamba3::test {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

/// Seeded normal numbers.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : engine_(seed) {}
  Floats operator()(std::int64_t count, double scale = 1, double offset = 0) {
    Floats values(static_cast<std::size_t>(count));
    for (float& v : values) v = static_cast<float>(offset + scale * normal_(engine_));
    return values;
  }
  std::int64_t below(std::int64_t limit) {
    return static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(limit));
  }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<double> normal_;
};

inline Doubles doubles(const Floats& values) {
  return {values.begin(), values.end()};
}

/// An output nobody wrote yet.
inline Floats unwritten(std::int64_t count) {
  return Floats(static_cast<std::size_t>(count), std::numeric_limits<float>::quiet_NaN());
}

/// `rows` rows whose tokens stand from row `begin`; the others are NaN.
inline Floats in_rows(const Floats& tokens, std::int64_t width, std::int64_t rows, std::int64_t begin) {
  Floats padded = unwritten(rows * width);
  std::copy(tokens.begin(), tokens.end(), padded.begin() + begin * width);
  return padded;
}

inline Floats rows_of(const Floats& values, std::int64_t width, std::int64_t first, std::int64_t count) {
  return {values.begin() + first * width, values.begin() + (first + count) * width};
}

/// Weights as a file holds them: `offset` bytes off alignment, and not one byte behind them.
class Stored {
 public:
  Stored(DType type, std::int64_t rows, std::int64_t cols, const Floats& values, std::size_t offset = 1)
      : bytes_(offset + static_cast<std::size_t>(*bytes_of(type, rows * cols))) {
    from_float(type, values.data(), rows * cols, bytes_.data() + offset);
    matrix_ = {type, rows, cols, bytes_.data() + offset};
    packed_ = OwnMatrix(matrix_);
    exact_ = OwnMatrix(matrix_, true);
  }
  Stored(const Stored&) = delete;
  Stored& operator=(const Stored&) = delete;

  const Matrix& matrix() const { return matrix_; }
  /// Packed for products; `exact` with float32 activations.
  const PackedMatrix& packed() const { return packed_.view(); }
  const PackedMatrix& exact() const { return exact_.view(); }
  /// What the stored bytes stand for.
  Doubles values() const {
    Doubles all(static_cast<std::size_t>(matrix_.rows * matrix_.cols));
    to_double(matrix_.dtype, matrix_.data, matrix_.rows * matrix_.cols, all.data());
    return all;
  }

 private:
  std::vector<std::byte> bytes_;
  Matrix matrix_;
  OwnMatrix packed_, exact_;
};

/// The same bits, NaN and signs of zero included.
inline testing::AssertionResult same_bits(std::span<const float> a, std::span<const float> b) {
  if (a.size() != b.size()) return testing::AssertionFailure() << a.size() << " values against " << b.size();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::memcmp(&a[i], &b[i], sizeof(float)) != 0) {
      return testing::AssertionFailure() << "value " << i << ": " << a[i] << " against " << b[i];
    }
  }
  return testing::AssertionSuccess();
}

/// |found - expected| / |expected|, NaN when anything in `found` is.
inline double relative_error(const Floats& found, const Doubles& expected) {
  if (found.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double error = 0, size = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    error += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return size > 0 ? std::sqrt(error / size) : std::sqrt(error);
}

/// Largest difference on the circle.
inline double angle_error(const Floats& found, const Doubles& expected) {
  double worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double apart = std::abs(std::remainder(found[i] - expected[i], 2 * std::numbers::pi));
    if (!(apart <= worst)) worst = apart;  // NaN stays
  }
  return found.size() == expected.size() ? worst : std::numeric_limits<double>::infinity();
}

}  // namespace mamba3::test
