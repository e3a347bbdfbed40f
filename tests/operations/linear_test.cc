// linear, and the embedding, which reads the same weights.
#include "ops/linear/linear.h"

#include <array>

#include "backend.h"
#include "bounds.h"
#include "core/half.h"
#include "ops/embedding/embedding.h"
#include "ops/linear/linear_ref.h"
#include "values.h"

namespace mamba3::test {
namespace {

class Linear : public OnBackend {
 protected:
  Floats run(const PackedMatrix& W, const Floats& x) const {
    const std::int64_t rows = std::ssize(x) / W.cols;
    Arena arena;
    Floats y = unwritten(rows * W.rows);
    linear({device(), &arena}, W, x.data(), rows, y.data());
    return y;
  }
};

// What a row of activations becomes on its way into a product with such weights.
Doubles as_taken(const Floats& x, std::int64_t cols, const PackedMatrix& W) {
  Doubles taken = doubles(x);
  if (W.dtype == DType::bf16 && !W.exact && cpu::has_bf16_product()) {
    for (double& v : taken) v = bf16_to_float(float_to_bf16(static_cast<float>(v)));
  }
  if (is_quantized(W.dtype) && !W.exact && cpu::has_int8_product()) {
    for (std::int64_t row = 0; row < std::ssize(x); row += cols) {
      for (std::int64_t k = 0; k < cols; k += 256) {
        const std::int64_t first = row + k, last = row + std::min(cols, k + 256);
        float largest = 0;
        for (std::int64_t i = first; i < last; ++i) largest = std::max(largest, std::abs(x[i]));
        for (std::int64_t i = first; i < last; ++i) {
          taken[i] = largest == 0 ? 0 : std::nearbyint(x[i] * (127.0f / largest)) * double{largest / 127.0f};
        }
      }
    }
  }
  return taken;
}

// Every element within the bound of its own sum.
void expect_product(const Floats& found, const Stored& stored, const PackedMatrix& W, const Floats& x) {
  const std::int64_t rows = std::ssize(x) / W.cols;
  const auto magnitude = [](Doubles values) {
    for (double& v : values) v = std::abs(v);
    return values;
  };
  const Doubles weights = stored.values(), input = as_taken(x, W.cols, W);
  Doubles expected(static_cast<std::size_t>(rows * W.rows)), size = expected;
  reference::linear(weights.data(), W.rows, W.cols, input.data(), rows, expected.data());
  // A group of quants with a minimum is a sum and what is taken off it: their magnitudes count, not what is
  // left.
  const double spread = is_quantized(W.dtype) ? 3 : 1;
  reference::linear(magnitude(weights).data(), W.rows, W.cols, magnitude(input).data(), rows, size.data());
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], spread * sum_bound(W.cols, size[i])) << "value " << i;
  }
}

Floats weights_for(Draw& draw, const LinearShape& s) {
  return draw(s.outputs * s.inputs);
}

TEST_P(Linear, AgreesWithFloat64) {
  each_case(linear_row(), [&](const LinearShape& s, DType type) {
    Draw draw(1);
    const Floats values = weights_for(draw, s), x = draw(s.rows * s.inputs);
    const Stored W(type, s.outputs, s.inputs, values);
    expect_product(steady([&] { return run(W.packed(), x); }), W, W.packed(), x);
    expect_product(steady([&] { return run(W.exact(), x); }), W, W.exact(), x);
  });
}

TEST_P(Linear, AlignmentOfStoredWeightsChangesNoBit) {
  each_case(linear_row(), [&](const LinearShape& s, DType type) {
    Draw draw(2);
    const Floats values = weights_for(draw, s), x = draw(s.rows * s.inputs);
    const Stored aligned(type, s.outputs, s.inputs, values, 0);
    for (const std::size_t offset : {1, 2, 7}) {
      const Stored W(type, s.outputs, s.inputs, values, offset);
      EXPECT_TRUE(same_bits(run(aligned.packed(), x), run(W.packed(), x))) << "offset " << offset;
    }
  });
}

// A row's bits depend on nothing else: not on the rows beside it, nor on their number.
TEST_P(Linear, RowsHaveBitsOfTheirOwn) {
  each_case(linear_row(), [&](const LinearShape& s, DType type) {
    Draw draw(3);
    const Floats values = weights_for(draw, s), x = draw(s.rows * s.inputs);
    const Stored W(type, s.outputs, s.inputs, values);
    const Floats all = run(W.packed(), x);
    for (std::int64_t row = 0; row < s.rows; row += 1 + s.rows / 9) {
      for (const std::int64_t count : {1, 2, 4, 7}) {
        if (row + count > s.rows) continue;
        EXPECT_TRUE(
            same_bits(rows_of(all, s.outputs, row, count), run(W.packed(), rows_of(x, s.inputs, row, count))))
            << count << " from row " << row;
      }
    }
  });
}

// Weights are shared out to threads by their rows: each has the bits that it has as a matrix of one row.
TEST_P(Linear, AWeightRowGivesWhatItGivesAlone) {
  each_case(linear_row(), [&](const LinearShape& s, DType type) {
    Draw draw(6);
    const Floats values = weights_for(draw, s), x = draw(s.inputs);
    const Stored W(type, s.outputs, s.inputs, values);
    const Floats all = run(W.packed(), x);
    for (std::int64_t j = 0; j < s.outputs; j += 1 + s.outputs / 50) {
      const OwnMatrix one({type, 1, s.inputs, W.matrix().row(j)});
      ASSERT_TRUE(same_bits(run(one.view(), x), rows_of(all, 1, j, 1))) << "output " << j;
    }
  });
}

TEST_P(Linear, SeveralProductsOfOneInputAreThoseOfEach) {
  Draw draw(8);
  const std::int64_t cols = 256, rows = 3;
  const Floats x = draw(rows * cols);
  const Stored a(DType::bf16, 70, cols, draw(70 * cols)), b(DType::q4_k, 33, cols, draw(33 * cols)),
      c(DType::f32, 5, cols, draw(5 * cols));
  Floats ya = unwritten(rows * 70), yb = unwritten(rows * 33), yc = unwritten(rows * 5);
  Arena arena;
  const std::array products = {Product{&a.packed(), ya.data()}, Product{&b.packed(), yb.data()},
                               Product{&c.packed(), yc.data()}};
  linear({device(), &arena}, products, x.data(), rows);
  EXPECT_TRUE(same_bits(ya, run(a.packed(), x)));
  EXPECT_TRUE(same_bits(yb, run(b.packed(), x)));
  EXPECT_TRUE(same_bits(yc, run(c.packed(), x)));
}

// What is not finite in a row of activations shows in its results, and only in its own.
TEST_P(Linear, InfinitiesAndNansAreNotLost) {
  for (const DType type : {DType::f32, DType::bf16, DType::q8_0, DType::q4_k}) {
    Draw draw(9);
    const std::int64_t cols = 256;
    const Stored W(type, 20, cols, draw(20 * cols));
    for (const float bad :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      Floats x = draw(2 * cols);
      x[17] = bad;
      const Floats y = run(W.packed(), x);
      for (std::int64_t j = 0; j < 20; ++j) {
        EXPECT_FALSE(std::isfinite(y[j])) << name_of(type);
        EXPECT_TRUE(std::isfinite(y[20 + j])) << name_of(type);
      }
    }
  }
}

TEST_P(Linear, ZerosAndTheSmallestNumbersGiveZeros) {
  for (const DType type : {DType::f32, DType::bf16, DType::q8_0, DType::q5_1, DType::q6_k}) {
    const std::int64_t cols = 256;
    const Stored W(type, 5, cols, Draw(10)(5 * cols));
    const Floats nothing(2 * cols, 0.0f), denormal(2 * cols, 1e-42f);
    for (const float v : run(W.packed(), nothing)) EXPECT_EQ(v, 0) << name_of(type);
    for (const float v : run(W.packed(), denormal)) EXPECT_NEAR(v, 0, 1e-38) << name_of(type);
  }
}

// Stored values are exact in float32, so the embedding loses nothing.
TEST_P(Linear, EmbeddingIsExact) {
  each_case(embedding_row(), [&](const EmbeddingShape& s, DType type) {
    Draw draw(7);
    const Stored table(type, s.vocab, s.width, draw(s.vocab * s.width));
    const std::vector<std::int32_t> ids = {static_cast<std::int32_t>(s.vocab - 1), 0,
                                           static_cast<std::int32_t>(s.vocab / 2),
                                           static_cast<std::int32_t>(s.vocab - 1)};
    const Floats out = steady([&] {
      Floats found = unwritten(std::ssize(ids) * s.width);
      embedding(device(), table.packed(), ids, found.data());
      return found;
    });
    const Doubles values = table.values();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      for (std::int64_t k = 0; k < s.width; ++k) {
        ASSERT_EQ(out[i * s.width + k], values[ids[i] * s.width + k]) << "token " << i << ", value " << k;
      }
    }
  });
}

MAMBA3_ON_EVERY_BACKEND(Linear);

}  // namespace
}  // namespace mamba3::test
