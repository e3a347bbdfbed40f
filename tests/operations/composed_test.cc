// cross_entropy and the MLP: operations made of products.
#include "backend.h"
#include "bounds.h"
#include "ffn/swiglu/mlp.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/cross_entropy/cross_entropy_ref.h"
#include "ops/linear/linear_ref.h"
#include "ops/swiglu/swiglu_ref.h"
#include "values.h"

namespace mamba3::test {
namespace {

class Composed : public OnBackend {};

Doubles product(const Stored& stored, const Doubles& x) {
  const Matrix& W = stored.matrix();
  const std::int64_t rows = std::ssize(x) / W.cols;
  Doubles y(static_cast<std::size_t>(rows * W.rows));
  reference::linear(stored.values().data(), W.rows, W.cols, x.data(), rows, y.data());
  return y;
}

// Largest error that one of the logits may have: |hidden| |row| bounds the sum of absolute products.
double logit_bound(const Stored& head, const double* hidden) {
  const Matrix& W = head.matrix();
  const auto length = [&](const double* v) {
    double squares = 0;
    for (std::int64_t k = 0; k < W.cols; ++k) squares += v[k] * v[k];
    return std::sqrt(squares);
  };
  const Doubles weights = head.values();
  double longest = 0;
  for (std::int64_t j = 0; j < W.rows; ++j) longest = std::max(longest, length(&weights[j * W.cols]));
  return sum_bound(W.cols, longest * length(hidden));
}

TEST_P(Composed, CrossEntropyAgreesWithFloat64) {
  each_case(cross_entropy_row(), [&](const CrossEntropyShape& s, DType type) {
    Draw draw(21);
    const Stored head(type, s.vocab, s.width, draw(s.vocab * s.width, 0.5));
    const Floats tokens = draw(s.tokens * s.width);
    std::vector<std::int32_t> targets(static_cast<std::size_t>(s.tokens));
    for (auto& target : targets) target = static_cast<std::int32_t>(draw.below(s.vocab));
    targets.front() = static_cast<std::int32_t>(s.vocab - 1);
    targets.back() = static_cast<std::int32_t>(std::min<std::int64_t>(2048, s.vocab - 1));
    Doubles nll;
    steady([&] {
      Arena arena;
      nll.assign(targets.size(), std::numeric_limits<double>::quiet_NaN());
      cross_entropy({device(), &arena}, head.exact(), tokens.data(), targets, nll.data());
      Floats bits(2 * nll.size());
      std::memcpy(bits.data(), nll.data(), nll.size() * sizeof(double));
      return bits;
    });
    const Doubles tokens64 = doubles(tokens), logits = product(head, tokens64);
    for (std::int64_t i = 0; i < s.tokens; ++i) {
      const double* row = &logits[i * s.vocab];
      const auto [least, most] = std::minmax_element(row, row + s.vocab);
      const double bound = cross_entropy_bound(logit_bound(head, &tokens64[i * s.width]), *most - *least);
      ASSERT_NEAR(nll[i], reference::cross_entropy(row, s.vocab, targets[i]), bound) << "token " << i;
    }
  });
}

struct MlpCase {
  Stored up, gate, down;
  Floats x;
  MlpWeights weights;

  MlpCase(const MlpShape& s, DType type) : MlpCase(s, type, Draw(22)) {}

  MlpCase(const MlpShape& s, DType type, Draw draw)
      : up(type, s.width, s.d_model, draw(s.width * s.d_model)),
        gate(type, s.width, s.d_model, draw(s.width * s.d_model)),
        down(type, s.d_model, s.width, draw(s.width * s.d_model)),
        x(draw(s.tokens * s.d_model)),
        weights{up.exact(), gate.exact(), down.exact()} {}

  Doubles expected() const {
    Doubles value = product(up, doubles(x));
    const Doubles gates = product(gate, doubles(x));
    reference::swiglu(value.data(), gates.data(), std::ssize(value));
    return product(down, value);
  }
};

// In norm: the products of three matrices, two of them side by side, and the function between. The gate's
// error counts by |d silu / dv| / |silu|, which is below 1 + |v| in norm; |v| is about sqrt(d_model) here.
double mlp_bound(const MlpShape& s) {
  const auto D = static_cast<double>(s.d_model), F = static_cast<double>(s.width);
  return 2 * kUnit * std::sqrt((D * (1 + 1 + D) + F) / 3 + kExp * kExp + 5);
}

TEST_P(Composed, MlpAgreesWithFloat64AndWithItsRowsAlone) {
  each_case(mlp_row(), [&](const MlpShape& s, DType type) {
    const MlpCase given(s, type);
    Arena arena;
    const Exec exec{device(), &arena};
    const Floats out = steady([&] {
      Floats found = unwritten(s.tokens * s.d_model);
      mlp_forward(exec, given.weights, given.x.data(), s.tokens, found.data());
      return found;
    });
    EXPECT_LE(relative_error(out, given.expected()), mlp_bound(s));
    Floats alone = unwritten(s.tokens * s.d_model);
    for (std::int64_t i = 0; i < s.tokens; ++i) {
      mlp_forward(exec, given.weights, &given.x[i * s.d_model], 1, &alone[i * s.d_model]);
    }
    EXPECT_TRUE(same_bits(out, alone));
  });
}

MAMBA3_ON_EVERY_BACKEND(Composed);

}  // namespace
}  // namespace mamba3::test
