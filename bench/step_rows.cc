// The step kernel alone.
#include <fmt/format.h>

#include <array>

#include "bench/bench.h"
#include "bench/rows.h"
#include "bench/timing.h"
#include "gpu/head_weights.h"
#include "gpu/reference_head.h"
#include "mixers/mamba3/mamba3.h"
#include "ops/ceiling/probes_cuda.h"

namespace mamba3::bench {
namespace {

using bf16 = __nv_bfloat16;
using test::HeadWeights;
using test::Side;

// States of so many layers are stepped in turn: at batch 128 each is larger than any cache.
constexpr std::int64_t kLayers = 8;

// A batch of sessions and the rows of some steps.
class StepBatch {
 public:
  StepBatch(const Mamba3Config& c, std::int64_t batch, std::int64_t steps, cudaStream_t stream)
      : config_(c),
        layout_(c, mamba3_chunk(c)),
        batch_(batch),
        steps_(steps),
        weights_(c, stream),
        states_(test::zeros<float>(batch * kLayers * layout_.size, stream)),
        positions_(test::zeros<std::int64_t>(batch, stream)),
        tails_(test::zeros<std::int32_t>(batch, stream)),
        projected_(steps * batch * c.in_rows()),
        dynamics_(test::on_device(test::uniform(20, steps * batch * c.dynamics_rows(), -2, 2), stream)),
        out_(test::poisoned<bf16>(steps * batch * c.d_inner(), stream)) {
    cuda::fill_random(projected_.data(), projected_.size(), 21, stream);
    std::vector<float*> blocks;
    for (std::int64_t b = 0; b < batch; ++b) blocks.push_back(states_.data() + b * kLayers * layout_.size);
    blocks_ = test::on_device(blocks, stream);
  }

  const Mamba3Layout& layout() const { return layout_; }

  void step(std::int64_t layer, std::int64_t step, cudaStream_t stream) const {
    const std::int64_t first = step * batch_;
    cuda::step_heads(config_, layout_, weights_.step(Side::device), sessions(), layer * layout_.size,
                     projected_.data() + first * config_.in_rows(),
                     dynamics_.data() + first * config_.dynamics_rows(),
                     out_.data() + first * config_.d_inner(), /*overlap=*/false, stream);
  }
  void advance(cudaStream_t stream) const {
    cuda::advance(positions_.data(), tails_.data(), batch_, layout_.fold_every(), stream);
  }

  // Of all steps from zero states in layer 0: the first and the last session and head.
  Check check(cudaStream_t stream) const {
    const std::int64_t W = config_.in_rows(), S = config_.dynamics_rows(), E = config_.d_inner();
    const std::int64_t P = config_.headdim;
    const auto projected = test::on_host(projected_.data(), projected_.size(), stream);
    const auto dynamics = test::on_host(dynamics_.data(), dynamics_.size(), stream);
    const auto out = test::on_host(out_.data(), out_.size(), stream);
    test::RelativeError error;
    for (const std::int64_t session : {std::int64_t{0}, batch_ - 1}) {
      std::vector<const bf16*> rows;
      std::vector<const float*> steer;
      for (std::int64_t i = session; i < steps_ * batch_; i += batch_) {
        rows.push_back(projected.data() + i * W);
        steer.push_back(dynamics.data() + i * S);
      }
      for (const std::int64_t head : {std::int64_t{0}, config_.n_heads() - 1}) {
        const auto parameters = test::head_parameters(config_, weights_.scan(Side::host), head);
        const auto in =
            test::step_head_input<bf16>(config_, weights_.step(Side::host), parameters, rows, steer, head);
        auto state = test::HeadState::zeros(test::one_head(config_));
        const auto expected = test::run_head(config_, parameters, in, state);
        for (std::int64_t i = 0; i < steps_ * P; ++i) {
          const bf16 found = out[(i / P * batch_ + session) * E + head * P + i % P];
          error.add(test::as_double(found), expected[i]);
        }
      }
    }
    return {error.value(), 1e-2};
  }

 private:
  cuda::Mamba3Sessions sessions() const { return {blocks_.data(), positions_.data(), tails_.data(), batch_}; }

  Mamba3Config config_;
  Mamba3Layout layout_;
  std::int64_t batch_, steps_;
  HeadWeights weights_;
  cuda::Buffer<float> states_;
  cuda::Buffer<std::int64_t> positions_;
  cuda::Buffer<std::int32_t> tails_;
  cuda::Buffer<bf16> projected_;
  cuda::Buffer<float> dynamics_;
  cuda::Buffer<bf16> out_;
  cuda::Buffer<float*> blocks_;
};

Found measure(std::int64_t rank, std::int64_t batch, const Workshop& shop) {
  const Mamba3Config c = released_mixer(rank);
  const std::int64_t period = Mamba3Layout(c, mamba3_chunk(c)).fold_every(), checked = period + 2;
  const StepBatch work(c, batch, checked, shop.stream());
  for (std::int64_t i = 0; i < checked; ++i) {
    work.step(0, i, shop.stream());
    work.advance(shop.stream());
  }
  const double rows = static_cast<double>(2 * (c.in_rows() + c.d_inner()) + 4 * c.dynamics_rows());
  Found found{.bytes = static_cast<double>(batch) * (step_bytes(work.layout()) + rows),
              .operations = static_cast<double>(batch) * token_operations(c),
              .check = work.check(shop.stream())};
  if (!found.check.holds()) return found;
  found.values = graph_seconds(shop.stream(), static_cast<double>(period * kLayers), [&] {
    for (std::int64_t i = 0; i < period; ++i) {
      for (std::int64_t layer = 0; layer < kLayers; ++layer) work.step(layer, i, shop.stream());
      work.advance(shop.stream());
    }
  });
  return found;
}

}  // namespace

void add_step_rows(std::vector<Row>& rows) {
  for (const std::int64_t rank : {1, 4}) {
    const Mamba3Config c = released_mixer(rank);
    rows.push_back({fmt::format("step/{}/128", mixer_tag(c)),
                    fmt::format("{} step kernel, batch 128", mixer_name(c)), rank == 1 ? 95e-6 : 0, false,
                    [rank](Workshop& shop) { return measure(rank, 128, shop); }});
  }
}

}  // namespace mamba3::bench
