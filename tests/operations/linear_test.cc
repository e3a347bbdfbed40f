// linear and linear_step, and the embedding, which reads the same weights.
#include "ops/linear/linear.h"

#include "backend.h"
#include "bounds.h"
#include "ops/embedding/embedding.h"
#include "ops/linear/linear_ref.h"
#include "values.h"

namespace mamba3::test {
namespace {

class Linear : public OnBackend {
 protected:
  Floats run(const Matrix& W, const Floats& x) const {
    const std::int64_t rows = std::ssize(x) / W.cols;
    Floats y = unwritten(rows * W.rows);
    linear(device(), W, x.data(), rows, y.data());
    return y;
  }
  Floats step(const Matrix& W, const Floats& x) const {
    const std::int64_t rows = std::ssize(x) / W.cols;
    Floats y = unwritten(rows * W.rows);
    linear_step(device(), W, x.data(), rows, y.data());
    return y;
  }
};

// Every element within the bound of its own sum.
void expect_product(const Floats& found, const Stored& stored, const Floats& x) {
  const Matrix& W = stored.matrix();
  const std::int64_t rows = std::ssize(x) / W.cols;
  const auto magnitude = [](Doubles values) {
    for (double& v : values) v = std::abs(v);
    return values;
  };
  const Doubles weights = stored.values(), input = doubles(x);
  Doubles expected(static_cast<std::size_t>(rows * W.rows)), size = expected;
  reference::linear(weights.data(), W.rows, W.cols, input.data(), rows, expected.data());
  reference::linear(magnitude(weights).data(), W.rows, W.cols, magnitude(input).data(), rows, size.data());
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_NEAR(found[i], expected[i], sum_bound(W.cols, size[i])) << "value " << i;
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
    const Floats y = steady([&] { return run(W.matrix(), x); });
    expect_product(y, W, x);
  });
}

TEST_P(Linear, AlignmentOfWeightsChangesNoBit) {
  each_case(linear_row(), [&](const LinearShape& s, DType type) {
    Draw draw(2);
    const Floats values = weights_for(draw, s), x = draw(s.rows * s.inputs);
    const Stored aligned(type, s.outputs, s.inputs, values, 0);
    for (const std::size_t offset : {1, 2, 7}) {
      const Stored W(type, s.outputs, s.inputs, values, offset);
      EXPECT_TRUE(same_bits(run(aligned.matrix(), x), run(W.matrix(), x))) << "offset " << offset;
      EXPECT_TRUE(same_bits(step(aligned.matrix(), x), step(W.matrix(), x))) << "a step, offset " << offset;
    }
  });
}

// A row's bits depend on its position modulo kBlockRows and on nothing else: not on the other rows, which may
// hold no token at all, and not on the number of blocks.
TEST_P(Linear, RowsHaveBitsOfTheirOwn) {
  each_case(linear_row(), [&](const LinearShape& s, DType type) {
    Draw draw(3);
    const Floats values = weights_for(draw, s), x = draw(s.rows * s.inputs);
    const Stored W(type, s.outputs, s.inputs, values);
    const Floats all = run(W.matrix(), x);
    for (const std::int64_t row : {std::int64_t{0}, std::int64_t{5}, kBlockRows - 1, s.rows - 1}) {
      const Floats alone =
          run(W.matrix(), in_rows(rows_of(x, s.inputs, row, 1), s.inputs, kBlockRows, row % kBlockRows));
      EXPECT_TRUE(same_bits(rows_of(all, s.outputs, row, 1), rows_of(alone, s.outputs, row % kBlockRows, 1)))
          << "row " << row;
    }
  });
}

TEST_P(Linear, StepAgreesWithFloat64) {
  each_case(linear_step_row(), [&](const LinearShape& s, DType type) {
    Draw draw(4);
    const Floats values = weights_for(draw, s), x = draw(s.rows * s.inputs);
    const Stored W(type, s.outputs, s.inputs, values);
    const Floats y = steady([&] { return step(W.matrix(), x); });
    expect_product(y, W, x);
  });
}

TEST_P(Linear, StepGivesABatchWhatItsRowsGiveAlone) {
  each_case(linear_step_row(), [&](const LinearShape& s, DType type) {
    Draw draw(5);
    const Floats values = weights_for(draw, s), x = draw(s.rows * s.inputs);
    const Stored W(type, s.outputs, s.inputs, values);
    Floats alone;
    for (std::int64_t row = 0; row < s.rows; ++row) {
      const Floats y = step(W.matrix(), rows_of(x, s.inputs, row, 1));
      alone.insert(alone.end(), y.begin(), y.end());
    }
    EXPECT_TRUE(same_bits(step(W.matrix(), x), alone));
  });
}

// Rows of weights are shared out to threads: each has the bits that it has as a matrix of one row.
TEST_P(Linear, StepGivesAWeightRowWhatItGivesAlone) {
  each_case(linear_step_row(), [&](const LinearShape& s, DType type) {
    Draw draw(6);
    const Floats values = weights_for(draw, s), x = draw(s.inputs);
    const Stored W(type, s.outputs, s.inputs, values);
    const Floats all = step(W.matrix(), x);
    for (std::int64_t j = 0; j < s.outputs; ++j) {
      const Floats alone = step({type, 1, s.inputs, W.matrix().row(j)}, x);
      ASSERT_TRUE(same_bits(alone, rows_of(all, 1, j, 1))) << "output " << j;
    }
  });
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
      embedding(device(), table.matrix(), ids, found.data());
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
