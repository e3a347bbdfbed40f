// Single steps of a batch of sessions, and what tails are good for besides, against float64.
#include <optional>

#include "gpu/mixer_case.h"

namespace mamba3::test {
namespace {

class GpuStep : public OnGpu {};

template <typename T>
std::vector<T> rows_as(const std::vector<float>& values) {
  if constexpr (std::is_same_v<T, float>) {
    return values;
  } else {
    return rounded(values);
  }
}

// Sessions at positions of their own, with empty tails, and the rows of their next tokens.
template <typename T>
class StepCase {
 public:
  StepCase(const Mamba3Config& c, const std::vector<std::int64_t>& positions, std::int64_t steps,
           cudaStream_t stream)
      : config_(c),
        batch_(std::ssize(positions)),
        stream_(stream),
        weights_(c, stream),
        projected_(rows_as<T>(uniform(1, steps * batch_ * c.in_rows(), -2, 2))),
        dynamics_(uniform(2, steps * batch_ * c.dynamics_rows(), -2, 2)),
        device_projected_(on_device(projected_, stream)),
        device_dynamics_(on_device(dynamics_, stream)),
        positions_(on_device(positions, stream)),
        tails_(zeros<std::int32_t>(batch_, stream)) {
    std::vector<LayerState> states;
    for (std::int64_t b = 0; b < batch_; ++b) {
      starts_.push_back(random_state(c, 70 * b));
      states.push_back(mamba3_import_state(c, starts_.back()));
    }
    blocks_ = std::make_unique<StateBlocks>(c, states, stream);
  }

  const Mamba3Layout& layout() const { return blocks_->layout(); }
  const StateBlocks& blocks() const { return *blocks_; }
  const HeadWeights& weights() const { return weights_; }

  std::vector<std::int32_t> tails() const { return on_host(tails_, stream_); }
  void set_tails(const std::vector<std::int32_t>& tails) { tails_ = on_device(tails, stream_); }

  cuda::Mamba3Sessions sessions(std::int64_t first = 0, std::int64_t count = -1) const {
    return {blocks_->pointers() + first, positions_.data() + first, tails_.data() + first,
            count < 0 ? batch_ : count};
  }

  // Rows of step i for sessions [first, first + count).
  std::vector<T> step(std::int64_t i, std::int64_t first, std::int64_t count) const {
    const std::int64_t row = i * batch_ + first;
    const auto out = poisoned<T>(count * config_.d_inner(), stream_);
    cuda::step_heads(config_, layout(), weights_.step(Side::device), sessions(first, count),
                     blocks_->offset(), device_projected_.data() + row * config_.in_rows(),
                     device_dynamics_.data() + row * config_.dynamics_rows(), out.data(), /*overlap=*/false,
                     stream_);
    return on_host(out, stream_);
  }
  std::vector<T> step(std::int64_t i) const { return step(i, 0, batch_); }
  void advance() const {
    cuda::advance(positions_.data(), tails_.data(), batch_, layout().fold_every(), stream_);
  }

  reference::Mamba3State<float> exported(std::int64_t session) const {
    const auto tail = tails()[static_cast<std::size_t>(session)];
    return mamba3_export_state(config_, weights_.cpu(), blocks_->state(session, tail));
  }

  // A head of a session in float64 over the first outs.size() steps.
  void expect(const std::vector<std::vector<T>>& outs, std::int64_t session, double bound) const {
    const auto end = exported(session);
    RelativeError error;
    for (std::int64_t head = 0; head < config_.n_heads(); ++head) {
      std::vector<const T*> rows;
      std::vector<const float*> steer;
      for (std::int64_t i = 0; i < std::ssize(outs); ++i) {
        rows.push_back(projected_.data() + (i * batch_ + session) * config_.in_rows());
        steer.push_back(dynamics_.data() + (i * batch_ + session) * config_.dynamics_rows());
      }
      const auto parameters = head_parameters(config_, weights_.scan(Side::host), head);
      const auto in = step_head_input<T>(config_, weights_.step(Side::host), parameters, rows, steer, head);
      HeadState state = head_of(config_, starts_[static_cast<std::size_t>(session)], head);
      const auto expected = run_head(config_, parameters, in, state);
      const std::int64_t P = config_.headdim;
      for (std::int64_t j = 0; j < std::ssize(expected); ++j) {
        const T found = outs[static_cast<std::size_t>(j / P)][session * config_.d_inner() + head * P + j % P];
        error.add(as_double(found), expected[static_cast<std::size_t>(j)]);
      }
      expect_head(config_, end, head, state, {.h = 1e-5, .k = 1e-5, .x = 1e-5});
    }
    EXPECT_LE(error.value(), bound) << "out";
  }

 private:
  Mamba3Config config_;
  std::int64_t batch_;
  cudaStream_t stream_;
  HeadWeights weights_;
  std::vector<T> projected_;
  std::vector<float> dynamics_;
  cuda::Buffer<T> device_projected_;
  cuda::Buffer<float> device_dynamics_;
  cuda::Buffer<std::int64_t> positions_;
  cuda::Buffer<std::int32_t> tails_;
  std::vector<reference::Mamba3State<float>> starts_;
  std::unique_ptr<StateBlocks> blocks_;
};

// At and between the positions that are folded at, and far out.
const std::vector<std::int64_t> kPositions = {0, 5, 1'000'003};

template <typename Body>
void each_mixer(const Body& body) {
  for (const MixerShape& shape : mixer_shapes()) {
    std::ostringstream what;
    what << shape;
    SCOPED_TRACE(what.str());
    body(shape.config());
    if (testing::Test::HasFailure()) return;
  }
}

template <typename T>
void expect_steps(const Mamba3Config& c, double bound, cudaStream_t stream) {
  const std::int64_t steps = 2 * Mamba3Layout(c, mamba3_chunk(c)).fold_every() + 3;
  const StepCase<T> given(c, kPositions, steps, stream);
  ASSERT_TRUE(cuda::takes_shape(given.layout()));
  std::vector<std::vector<T>> outs;
  for (std::int64_t i = 0; i < steps; ++i) {
    outs.push_back(given.step(i));
    given.advance();
  }
  for (std::int64_t session = 0; session < std::ssize(kPositions); ++session) {
    SCOPED_TRACE("session " + std::to_string(session));
    given.expect(outs, session, bound);
  }
}

// Sums of d_state and of the tail's tokens in float32: 1e-5 (docs/numerics.md).
TEST_F(GpuStep, AgreesWithFloat64InFloat32) {
  each_mixer([&](const Mamba3Config& c) { expect_steps<float>(c, 1e-5, stream()); });
}

// Everything between rounded rows and the rounded output is float32.
TEST_F(GpuStep, AgreesWithFloat64InBfloat16) {
  each_mixer([&](const Mamba3Config& c) { expect_steps<bf16>(c, kBf16Unit, stream()); });
}

TEST_F(GpuStep, GivesABatchWhatItsSessionsGetAlone) {
  each_mixer([&](const Mamba3Config& c) {
    const std::int64_t steps = Mamba3Layout(c, mamba3_chunk(c)).fold_every() + 1, E = c.d_inner();
    const StepCase<bf16> together(c, kPositions, steps, stream()), alone(c, kPositions, steps, stream());
    for (std::int64_t i = 0; i < steps; ++i) {
      std::vector<bf16> one_by_one;
      for (std::int64_t b = 0; b < std::ssize(kPositions); ++b) {
        const auto out = alone.step(i, b, 1);
        one_by_one.insert(one_by_one.end(), out.begin(), out.end());
      }
      ASSERT_EQ(std::ssize(one_by_one), std::ssize(kPositions) * E);
      EXPECT_TRUE(equal_bits(together.step(i), one_by_one)) << "step " << i;
      together.advance(), alone.advance();
    }
    for (std::int64_t b = 0; b < std::ssize(kPositions); ++b)
      EXPECT_TRUE(same_values(together.blocks().state(b, 0), alone.blocks().state(b, 0))) << "session " << b;
  });
}

TEST_F(GpuStep, AdvanceCountsAndEmptiesTails) {
  const auto positions = on_device<std::int64_t>({0, 6, 7, 1'000'000'000'007}, stream());
  const auto tails = on_device<std::int32_t>({0, 3, 4, 7}, stream());
  cuda::advance(positions.data(), tails.data(), 4, 8, stream());
  EXPECT_EQ(on_host(positions, stream()), (std::vector<std::int64_t>{1, 7, 8, 1'000'000'000'008}));
  EXPECT_EQ(on_host(tails, stream()), (std::vector<std::int32_t>{1, 4, 0, 0}));
}

// Three tokens into the tail; then what folding makes is the state with its tail.
TEST_F(GpuStep, FoldingKeepsTheState) {
  each_mixer([&](const Mamba3Config& c) {
    StepCase<float> given(c, kPositions, 3, stream());
    for (std::int64_t i = 0; i < 3; ++i) {
      given.step(i);
      given.advance();
    }
    std::vector<reference::Mamba3State<float>> before;
    for (std::int64_t b = 0; b < std::ssize(kPositions); ++b) before.push_back(given.exported(b));
    cuda::fold_tails(given.layout(), given.weights().step(Side::device).mimo_x, given.sessions(),
                     given.blocks().offset(), stream());
    given.set_tails(std::vector<std::int32_t>(kPositions.size()));
    for (std::int64_t b = 0; b < std::ssize(kPositions); ++b) {
      SCOPED_TRACE("session " + std::to_string(b));
      const auto after = given.exported(b);
      EXPECT_TRUE(equal_bits(after.theta, before[b].theta));
      EXPECT_TRUE(equal_bits(after.k, before[b].k));
      EXPECT_TRUE(equal_bits(after.x, before[b].x));
      EXPECT_LE(error_of(after.h, before[b].h), 1e-5);
    }
  });
}

// The angles come back with their bits, and so does the rest of the text.
TEST_F(GpuStep, TurningBackUndoesTokens) {
  each_mixer([&](const Mamba3Config& c) {
    StepCase<float> given(c, {0, 8'000'000}, 3, stream());
    std::vector<reference::Mamba3State<float>> after_one;
    std::vector<std::vector<float>> outs;
    for (std::int64_t i = 0; i < 3; ++i) {
      outs.push_back(given.step(i));
      given.advance();
      if (i > 0) continue;
      for (std::int64_t b = 0; b < 2; ++b) after_one.push_back(given.exported(b));
    }
    if (given.tails()[0] != 3) return;  // folded on the way: nothing to undo
    given.set_tails({1, 1});
    cuda::turn_back(given.layout(), given.sessions(), given.blocks().offset(), stream());
    for (std::int64_t b = 0; b < 2; ++b) {
      const auto back = given.exported(b);
      EXPECT_TRUE(equal_bits(back.theta, after_one[b].theta)) << "theta of session " << b;
      EXPECT_TRUE(equal_bits(back.h, after_one[b].h)) << "h of session " << b;
    }
    EXPECT_TRUE(equal_bits(given.step(1), outs[1])) << "the same token again";
  });
}

TEST_F(GpuStep, RefusesOtherShapes) {
  for (const MixerShape& shape : {MixerShape{64, 272, 0}, MixerShape{136, 64, 0}, MixerShape{64, 64, 9}}) {
    const Mamba3Config c = shape.config();
    EXPECT_FALSE(cuda::takes_shape(Mamba3Layout(c, mamba3_chunk(c)))) << shape;
  }
}

}  // namespace
}  // namespace mamba3::test
