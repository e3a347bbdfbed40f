// norm and swiglu: operations on rows and values without stored weights.
#include "backend.h"
#include "bounds.h"
#include "ops/norm/norm.h"
#include "ops/norm/norm_ref.h"
#include "ops/swiglu/swiglu.h"
#include "ops/swiglu/swiglu_ref.h"
#include "values.h"

namespace mamba3::test {
namespace {

class Rowwise : public OnBackend {};

struct NormCase {
  Floats weight, bias, x;
  NormWeights weights;

  NormCase(const NormShape& s, double scale, double offset) {
    Draw draw(11);
    weight = draw(s.width, 0.3, 1);
    bias = draw(s.width);
    x = draw(s.rows * s.width, scale, offset);
    weights = {weight.data(), s.layer_norm ? bias.data() : nullptr, s.width};
  }
};

void expect_norm(const NormCase& given, const float* found, const float* x) {
  const auto& [weight, bias, all_x, w] = given;
  const std::int64_t width = w.width;
  const Doubles weight64 = doubles(weight), bias64 = doubles(bias), x64(x, x + width);
  Doubles expected(static_cast<std::size_t>(width));
  reference::norm(weight64.data(), w.bias == nullptr ? nullptr : bias64.data(), x64.data(), width,
                  expected.data());
  double mean = 0, magnitude = 0, squares = 0;
  for (const double v : x64) magnitude += std::abs(v) / static_cast<double>(width);
  if (w.bias != nullptr) {
    for (const double v : x64) mean += v / static_cast<double>(width);
  }
  for (const double v : x64) squares += (v - mean) * (v - mean) / static_cast<double>(width);
  const double scale = 1 / std::sqrt(squares + 1e-5);
  for (std::int64_t i = 0; i < width; ++i) {
    const double shift = w.bias == nullptr ? 0 : bias64[i];
    const double slope = w.bias == nullptr ? 0 : scale * weight64[i];
    ASSERT_NEAR(found[i], expected[i], norm_bound(width, expected[i] - shift, slope, magnitude, shift))
        << "value " << i;
  }
}

TEST_P(Rowwise, NormAgreesWithFloat64) {
  for (const auto& [scale, offset] : {std::pair{1.0, 0.0}, std::pair{1e-3, 0.0}, std::pair{50.0, 3.0}}) {
    each_shape(norm_row(), [&, scale = scale, offset = offset](const NormShape& s) {
      const NormCase given(s, scale, offset);
      const Floats out = steady([&] {
        Floats found = unwritten(s.rows * s.width);
        norm(device(), given.weights, given.x.data(), s.rows, found.data());
        return found;
      });
      for (std::int64_t row = 0; row < s.rows; ++row) {
        expect_norm(given, &out[row * s.width], &given.x[row * s.width]);
      }
    });
  }
}

TEST_P(Rowwise, NormInPlaceAndAloneGivesTheSameBits) {
  each_shape(norm_row(), [&](const NormShape& s) {
    const NormCase given(s, 1, 0);
    Floats out = unwritten(s.rows * s.width), in_place = given.x, alone = unwritten(s.rows * s.width);
    norm(device(), given.weights, given.x.data(), s.rows, out.data());
    norm(device(), given.weights, in_place.data(), s.rows, in_place.data());
    for (std::int64_t row = s.rows - 1; row >= 0; --row) {
      norm(device(), given.weights, &given.x[row * s.width], 1, &alone[row * s.width]);
    }
    EXPECT_TRUE(same_bits(out, in_place));
    EXPECT_TRUE(same_bits(out, alone));
  });
}

TEST_P(Rowwise, SwigluAgreesWithFloat64) {
  each_shape(swiglu_row(), [&](const SwigluShape& s) {
    Draw draw(12);
    const Floats value = draw(s.count);
    Floats gate = draw(s.count, 8);
    const float ends[] = {0.0f, -0.0f, 100.0f, -100.0f, -87.0f, 1e-30f};
    for (std::int64_t i = 0; i < s.count; i += 3) gate[i] = ends[i / 3 % std::ssize(ends)];
    const Floats out = steady([&] {
      Floats found = value;
      swiglu(device(), found.data(), gate.data(), s.count);
      return found;
    });
    Doubles expected = doubles(value);
    reference::swiglu(expected.data(), doubles(gate).data(), s.count);
    for (std::int64_t i = 0; i < s.count; ++i) {
      ASSERT_NEAR(out[i], expected[i], swiglu_bound(expected[i])) << "gate " << gate[i];
    }
  });
}

// A value has the same bits wherever it stands, in a whole vector or in the remainder.
TEST_P(Rowwise, SwigluGivesAValueTheSameBitsAnywhere) {
  each_shape(swiglu_row(), [&](const SwigluShape& s) {
    Draw draw(13);
    const Floats value = draw(s.count), gate = draw(s.count, 3);
    Floats together = value, alone = value;
    swiglu(device(), together.data(), gate.data(), s.count);
    for (std::int64_t i = 0; i < s.count; ++i) swiglu(device(), &alone[i], &gate[i], 1);
    EXPECT_TRUE(same_bits(together, alone));
  });
}

MAMBA3_ON_EVERY_BACKEND(Rowwise);

}  // namespace
}  // namespace mamba3::test
