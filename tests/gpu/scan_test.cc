// The scan of prefill on tensor cores against float64 on the inputs that it was given.
#include <numeric>

#include "gpu/mixer_case.h"

namespace mamba3::test {
namespace {

class GpuScan : public OnGpu {};

using Lengths = std::vector<std::int32_t>;

// Around chunks of 64 tokens, an empty sequence, and one that is cut into segments.
const std::vector<Lengths>& lengths_to_try() {
  static const std::vector<Lengths> all = {{1}, {63}, {64, 65}, {5, 0, 130, 1}, {700}, {300, 40, 300, 7}};
  return all;
}

std::vector<LayerState> random_states(const Mamba3Config& c, std::size_t count) {
  std::vector<LayerState> states;
  for (std::size_t i = 0; i < count; ++i) states.push_back(mamba3_import_state(c, random_state(c, 50 * i)));
  return states;
}

// Packed sequences with rows wider than they need to be.
class ScanCase {
 public:
  ScanCase(const Mamba3Config& c, const Lengths& lengths, cudaStream_t stream)
      : config_(c), lengths_(lengths), stream_(stream), weights_(c, stream) {
    starts_.push_back(0);
    for (const std::int32_t length : lengths) starts_.push_back(starts_.back() + length);
    const std::int64_t T = starts_.back(), H = c.n_heads();
    zx_stride_ = 2 * c.d_inner() + kWider, bc_stride_ = 2 * c.bc_width() + kWider;
    zx_ = rounded(uniform(1, T * zx_stride_, -2, 2)), bc_ = rounded(uniform(2, T * bc_stride_, -1.7, 1.7));
    adt_ = uniform(3, T * H, -0.3, -0.0005), dt_ = uniform(4, T * H, 0.001, 0.15);
    trap_ = uniform(5, T * H, -3, 3), rate_ = uniform(6, T * c.n_angles(), -3.1, 3.1);
    device_zx_ = on_device(zx_, stream), device_bc_ = on_device(bc_, stream);
    device_adt_ = on_device(adt_, stream), device_dt_ = on_device(dt_, stream);
    device_trap_ = on_device(trap_, stream), device_rate_ = on_device(rate_, stream);
    device_starts_ = on_device(starts_, stream);
  }

  // The output; null: start from zeros and drop the end.
  std::vector<bf16> run(const StateBlocks* states) const {
    const cuda::ScanSequences sequences{std::ssize(lengths_),
                                        starts_.back(),
                                        *std::max_element(lengths_.begin(), lengths_.end()),
                                        device_starts_.data(),
                                        states == nullptr ? nullptr : states->pointers(),
                                        states == nullptr ? 0 : states->offset()};
    const auto out = poisoned<bf16>(starts_.back() * config_.d_inner(), stream_);
    const auto workspace = poisoned<std::byte>(
        static_cast<std::int64_t>(cuda::scan_workspace_bytes(config_, sequences)), stream_);
    cuda::scan_forward(config_,
                       input(device_zx_.data(), device_bc_.data(), device_adt_.data(), device_dt_.data(),
                             device_trap_.data(), device_rate_.data()),
                       weights_.scan(Side::device), sequences, out.data(), workspace.data(), stream_);
    return on_host(out, stream_);
  }

  // starts: one for each sequence, or none.
  void expect(const std::vector<bf16>& out, const std::vector<LayerState>& starts,
              const StateBlocks* ends) const {
    const std::int64_t H = config_.n_heads(), P = config_.headdim, E = config_.d_inner();
    const cuda::ScanInput rows =
        input(zx_.data(), bc_.data(), adt_.data(), dt_.data(), trap_.data(), rate_.data());
    for (std::size_t i = 0; i < lengths_.size(); ++i) {
      SCOPED_TRACE("sequence " + std::to_string(i));
      const auto zero = reference::Mamba3State<float>::zeros(config_);
      const auto start = starts.empty() ? zero : mamba3_export_state(config_, weights_.cpu(), starts[i]);
      reference::Mamba3State<float> end;
      if (ends != nullptr)
        end = mamba3_export_state(config_, weights_.cpu(), ends->state(static_cast<std::int64_t>(i), 0));
      RelativeError error;
      for (std::int64_t head = 0; head < H; ++head) {
        const auto parameters = head_parameters(config_, weights_.scan(Side::host), head);
        const auto in = scan_head_input(config_, rows, parameters, starts_[i], lengths_[i], head);
        HeadState state = head_of(config_, start, head);
        const auto expected = run_head(config_, parameters, in, state);
        for (std::int64_t j = 0; j < lengths_[i] * P; ++j)
          error.add(as_double(out[(starts_[i] + j / P) * E + head * P + j % P]), expected[j]);
        // k and x come from one rounding each, sums are of products of rounded numbers.
        if (ends != nullptr) expect_head(config_, end, head, state, {.h = 1e-2, .k = kBf16Unit, .x = 1e-6});
      }
      EXPECT_LE(error.value(), 1e-2) << "out";
    }
  }

 private:
  static constexpr std::int64_t kWider = 24;

  cuda::ScanInput input(const bf16* zx, const bf16* bc, const float* adt, const float* dt, const float* trap,
                        const float* rate) const {
    return {zx,        zx + config_.d_inner(), bc, bc + config_.bc_width(), adt, dt, trap, rate, zx_stride_,
            bc_stride_};
  }

  Mamba3Config config_;
  Lengths lengths_;
  cudaStream_t stream_;
  HeadWeights weights_;
  std::vector<std::int32_t> starts_;
  std::int64_t zx_stride_, bc_stride_;
  std::vector<bf16> zx_, bc_;
  std::vector<float> adt_, dt_, trap_, rate_;
  cuda::Buffer<bf16> device_zx_, device_bc_;
  cuda::Buffer<float> device_adt_, device_dt_, device_trap_, device_rate_;
  cuda::Buffer<std::int32_t> device_starts_;
};

template <typename Body>
void each_scan(const Body& body) {
  for (const MixerShape& shape : mixer_shapes()) {
    if (!cuda::scan_fits(shape.config())) continue;
    for (const Lengths& lengths : lengths_to_try()) {
      std::ostringstream what;
      what << shape << ", lengths " << testing::PrintToString(lengths);
      SCOPED_TRACE(what.str());
      body(shape.config(), lengths);
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST_F(GpuScan, AgreesWithFloat64FromAnyState) {
  each_scan([&](const Mamba3Config& c, const Lengths& lengths) {
    const ScanCase given(c, lengths, stream());
    const auto starts = random_states(c, lengths.size());
    const StateBlocks states(c, starts, stream()), again(c, starts, stream());
    const auto out = given.run(&states);
    given.expect(out, starts, &states);
    EXPECT_TRUE(equal_bits(out, given.run(&again))) << "a second run";
    for (std::int64_t i = 0; i < std::ssize(lengths); ++i) {
      EXPECT_TRUE(same_values(states.state(i, 0), again.state(i, 0))) << "a second run, state " << i;
    }
  });
}

TEST_F(GpuScan, StartsFromZerosWithoutStates) {
  const Lengths lengths = {70, 1, 200};
  for (const MixerShape& shape : {mixer_shapes()[0], mixer_shapes()[1]}) {
    const ScanCase given(shape.config(), lengths, stream());
    given.expect(given.run(nullptr), {}, nullptr);
  }
}

TEST_F(GpuScan, LeavesAnEmptySequenceAlone) {
  const Mamba3Config c = mixer_shapes()[1].config();
  const ScanCase given(c, {3, 0, 5}, stream());
  const auto starts = random_states(c, 3);
  const StateBlocks states(c, starts, stream());
  given.run(&states);
  EXPECT_TRUE(same_values(states.state(1, 0), starts[1]));
}

// headdim 128 with a norm is two blocks' to share; the exact scan takes it.
TEST_F(GpuScan, TakesTheShapesItClaims) {
  for (const MixerShape& shape : mixer_shapes())
    EXPECT_EQ(cuda::scan_fits(shape.config()), shape.headdim < 128 || !shape.normed) << shape;
  for (const MixerShape& shape : {MixerShape{48, 64, 0}, MixerShape{64, 8, 0}, MixerShape{64, 272, 0},
                                  MixerShape{64, 120, 0}, MixerShape{64, 64, 9}}) {
    EXPECT_FALSE(cuda::scan_fits(shape.config())) << shape;
  }
}

}  // namespace
}  // namespace mamba3::test
