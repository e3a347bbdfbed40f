// The Mamba-3 layer against the float64 reference: forward, step and scan.
#include "backend.h"
#include "bounds.h"
#include "mamba3_case.h"

namespace mamba3::test {
namespace {

class Mamba3 : public OnBackend {};

// What the reference makes of a case, and what float32 may lose on the way.
struct Expected {
  reference::Mamba3State<double> state;
  Doubles out;
  Mamba3Bound bound;

  explicit Expected(const Mamba3Case& given) : state(given.start64()) {
    const auto params = given.params();
    const Doubles u = doubles(given.u());
    const std::int64_t tokens = given.shape().tokens;
    const auto dt = reference::prepare(params, given.config(), u.data(), tokens).dt;
    out = reference::mixer(params, given.config(), u.data(), tokens, state);
    bound = mamba3_bound(given.config(), tokens, *std::max_element(dt.begin(), dt.end()));
  }

  void expect(const Mamba3Case& given, const Floats& found, const LayerState& layer) const {
    EXPECT_LE(relative_error(found, out), bound.relative) << "out";
    expect_state(given.exported(layer));
  }

  void expect_state(const reference::Mamba3State<float>& found) const {
    EXPECT_LE(angle_error(found.theta, state.theta), bound.angle) << "theta";
    EXPECT_LE(relative_error(found.h, state.h), bound.relative) << "h";
    EXPECT_LE(relative_error(found.k, state.k), bound.relative) << "k";
    EXPECT_LE(relative_error(found.x, state.x), bound.relative) << "x";
    for (const float angle : found.theta) EXPECT_TRUE(angle >= 0 && angle < 6.2831855f) << angle;
  }
};

TEST_P(Mamba3, ForwardAgreesWithFloat64) {
  each_case(mamba3_row(), [&](const Mamba3Shape& shape, DType type) {
    const Mamba3Case given(shape, type, device());
    LayerState state;
    const Floats out = steady([&] {
      state = given.start();
      return given.run(state, {{shape.tokens}});
    });
    Expected(given).expect(given, out, state);
  });
}

TEST_P(Mamba3, StepAgreesWithFloat64) {
  each_case(mamba3_row(), [&](Mamba3Shape shape, DType type) {
    shape.tokens = std::max<std::int64_t>(shape.tokens, 40);  // the tail is folded every 8 tokens or fewer
    const Mamba3Case given(shape, type, device());
    LayerState state;
    const Floats out = steady([&] {
      state = given.start();
      return given.run(state, {{shape.tokens, true}});
    });
    Expected(given).expect(given, out, state);
  });
}

TEST_P(Mamba3, ForwardAndStepsTakeTurns) {
  each_case(mamba3_row(), [&](const Mamba3Shape& shape, DType type) {
    if (shape.tokens < 8 || type == DType::f16) return;
    const Mamba3Case given(shape, type, device());
    const std::int64_t rest = shape.tokens - 7;
    LayerState state = given.start();
    const Floats out = given.run(state, {{3}, {1, true}, {rest / 2}, {3, true}, {rest - rest / 2}});
    Expected(given).expect(given, out, state);
  });
}

// Forward calls, steps and rewinding in any order: what is left at the end is the text.
TEST_P(Mamba3, WanderingAgreesWithFloat64) {
  each_case(mamba3_row(), [&](Mamba3Shape shape, DType type) {
    if (type != DType::f32) return;
    shape.tokens = 90;
    const Mamba3Case given(shape, type, device());
    const auto D = given.config().d_model;
    Draw draw(61);
    LayerState state = given.start();
    Floats out;
    for (std::int64_t done = 0; done < shape.tokens;) {
      const bool by_steps = draw.below(2) == 1;
      const std::int64_t tokens = std::min(1 + draw.below(by_steps ? 12 : 25), shape.tokens - done);
      const Floats found = given.run(state, shape.first, done, {{tokens, by_steps}});
      out.insert(out.end(), found.begin(), found.end());
      done += tokens;
      if (done == shape.tokens) break;
      const std::int64_t undone = draw.below(std::min<std::int64_t>(state.tail, 9) + 1);
      given.rewind(state, undone);
      done -= undone;
      out.resize(static_cast<std::size_t>(done * D));
    }
    Expected(given).expect(given, out, state);
  });
}

// Three sessions at positions of their own in one batch: each has the bits that it has alone.
TEST_P(Mamba3, StepGivesABatchWhatItsSessionsGiveAlone) {
  each_case(mamba3_row(), [&](const Mamba3Shape& shape, DType type) {
    constexpr std::int64_t kSessions = 3;
    const Mamba3Case given({shape.name, shape.config, 20, 0, true}, type, device());
    const auto D = given.config().d_model;
    std::vector<LayerState> alone, together;
    std::vector<Mamba3Place> places;
    Floats expected;
    for (std::int64_t i = 0; i < kSessions; ++i) {
      LayerState& state = alone.emplace_back(given.start());
      given.run(state, 0, 0, {{5 * i + 1}});
    }
    together = alone;
    for (std::int64_t i = 0; i < kSessions; ++i) {
      places.push_back({&together[i], 5 * i + 1});
      const Floats out = given.run(alone[i], 4 * i + 1, i, {{1, true}});
      expected.insert(expected.end(), out.begin(), out.end());
    }
    Arena arena;
    Floats found = unwritten(kSessions * D);
    mamba3_step({device(), &arena}, given.config(), given.weights(), given.u().data(), found.data(), places);
    EXPECT_TRUE(same_bits(found, expected));
    for (std::int64_t i = 0; i < kSessions; ++i) {
      EXPECT_TRUE(same_bits(given.state_values(together[i]), given.state_values(alone[i])))
          << "session " << i;
    }
  });
}

// The scan's inputs as the mixer has them, in rows wider than they need to be and NaN wherever no token is.
struct ScanRows {
  Floats z, x, B, C, adt, dt, trap, angle;
  Mamba3ScanInput input;

  ScanRows(const Mamba3Config& c, const RowWindow& window, Draw& draw) {
    constexpr std::int64_t kWider = 3;
    const auto tokens = window.tokens();
    const auto rows = [&](std::int64_t width, std::int64_t gap, double scale = 1, double offset = 0) {
      Floats all = unwritten(window.rows * (width + gap));
      for (std::int64_t t = 0; t < tokens; ++t) {
        const Floats row = draw(width, scale, offset);
        std::copy(row.begin(), row.end(), all.begin() + (window.begin + t) * (width + gap));
      }
      return all;
    };
    z = rows(c.d_inner(), kWider), x = rows(c.d_inner(), kWider);
    B = rows(c.bc_width(), kWider), C = rows(c.bc_width(), kWider);
    adt = rows(c.n_heads(), 0), dt = rows(c.n_heads(), 0, 0.02, 0.12), trap = rows(c.n_heads(), 0);
    angle = rows(c.n_angles(), 0);
    for (float& v : adt) v = -0.3f * v * v;
    input = {z.data(),
             x.data(),
             B.data(),
             C.data(),
             adt.data(),
             dt.data(),
             trap.data(),
             angle.data(),
             c.d_inner() + kWider,
             c.bc_width() + kWider};
  }
};

// The same for the reference: dense, in float64, B and C spread over the heads and biased.
reference::ScanInput<double> scan_input(const Mamba3Case& given, const ScanRows& rows,
                                        const RowWindow& window) {
  const Mamba3Config& c = given.config();
  const auto dense = [&](const Floats& from, std::int64_t width, std::int64_t stride) {
    Doubles to;
    for (std::int64_t t = window.begin; t < window.end; ++t) {
      to.insert(to.end(), from.begin() + t * stride, from.begin() + t * stride + width);
    }
    return to;
  };
  const auto spread = [&](const Floats& groups, const Doubles& bias) {
    Doubles to;
    for (std::int64_t t = window.begin; t < window.end; ++t) {
      for (std::int64_t r = 0; r < c.rank(); ++r) {
        for (std::int64_t h = 0; h < c.n_heads(); ++h) {
          const auto from =
              t * rows.input.bc_stride + (r * c.ngroups + h / (c.n_heads() / c.ngroups)) * c.d_state;
          for (std::int64_t n = 0; n < c.d_state; ++n) {
            to.push_back(groups[from + n] + bias[(h * c.rank() + r) * c.d_state + n]);
          }
        }
      }
    }
    return to;
  };
  const auto params = given.params();
  const auto H = c.n_heads(), E = c.d_inner(), S = c.n_angles();
  return {window.tokens(),
          spread(rows.C, params.C_bias),
          spread(rows.B, params.B_bias),
          dense(rows.x, E, rows.input.zx_stride),
          dense(rows.z, E, rows.input.zx_stride),
          dense(rows.adt, H, H),
          dense(rows.dt, H, H),
          dense(rows.trap, H, H),
          dense(rows.angle, S, S)};
}

TEST_P(Mamba3, ScanAgreesWithFloat64) {
  each_shape(mamba3_row(), [&](const Mamba3Shape& shape) {
    const Mamba3Case given(shape, DType::f32, device());
    const Mamba3Config& c = given.config();
    const auto window = RowWindow::of(shape.first, shape.tokens);
    Draw draw(41);
    const ScanRows rows(c, window, draw);
    const auto width = c.rank() * c.d_inner();
    Arena arena;
    LayerState layer;
    Floats y;
    const Floats out = steady([&] {
      layer = given.start();
      Floats gated = unwritten(window.rows * c.d_inner());
      y = unwritten(window.rows * width);
      mamba3_scan({device(), &arena}, c, given.weights(), window, rows.input, gated.data(), y.data(), layer);
      return rows_of(gated, c.d_inner(), window.begin, shape.tokens);
    });
    const auto input = scan_input(given, rows, window);
    const auto params = given.params();
    auto state = given.start64();
    const Doubles expected_y = reference::scan(input, params, c, state);
    const Doubles expected = reference::gate(expected_y, input.z, params, c, shape.tokens);
    const auto bound = mamba3_bound(c, shape.tokens, *std::max_element(input.dt.begin(), input.dt.end()));
    EXPECT_LE(relative_error(rows_of(y, width, window.begin, shape.tokens), expected_y), bound.relative)
        << "y";
    EXPECT_LE(relative_error(out, expected), bound.relative) << "out";
    EXPECT_LE(angle_error(given.exported(layer).theta, state.theta), bound.angle) << "theta";
    EXPECT_LE(relative_error(given.exported(layer).h, state.h), bound.relative) << "h";
  });
}

MAMBA3_ON_EVERY_BACKEND(Mamba3);

}  // namespace
}  // namespace mamba3::test
