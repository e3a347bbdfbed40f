// The scan of a prefill alone: everything between in_proj and out_proj but the norms of B and C.
#include <fmt/format.h>

#include <algorithm>

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

struct ScanShape {
  std::int64_t rank, batch, tokens;
  std::int64_t total() const { return batch * tokens; }
};

// What a launch reads and writes.
class ScanSet {
 public:
  ScanSet(const Mamba3Config& c, const ScanShape& shape, std::uint64_t seed, cudaStream_t stream)
      : config_(c),
        layout_(c, mamba3_chunk(c)),
        shape_(shape),
        rows_(shape.total() * c.in_rows()),
        adt_(test::on_device(test::uniform(seed + 1, shape.total() * c.n_heads(), -0.2, -0.001), stream)),
        dt_(test::on_device(test::uniform(seed + 2, shape.total() * c.n_heads(), 0.001, 0.1), stream)),
        trap_(test::on_device(test::uniform(seed + 3, shape.total() * c.n_heads(), -2, 2), stream)),
        rate_(test::on_device(test::uniform(seed + 4, shape.total() * c.n_angles(), -3, 3), stream)),
        states_(test::zeros<float>(shape.batch * layout_.size, stream)),
        out_(test::poisoned<bf16>(shape.total() * c.d_inner(), stream)) {
    cuda::fill_random(rows_.data(), rows_.size(), seed, stream);
    std::vector<float*> states;
    std::vector<std::int32_t> starts;
    for (std::int64_t i = 0; i <= shape.batch; ++i) {
      starts.push_back(static_cast<std::int32_t>(i * shape.tokens));
      states.push_back(states_.data() + i * layout_.size);
    }
    state_pointers_ = test::on_device(states, stream);
    starts_ = test::on_device(starts, stream);
    workspace_ =
        cuda::Buffer<std::byte>(static_cast<std::int64_t>(cuda::scan_workspace_bytes(c, sequences())));
  }

  void launch(const HeadWeights& weights, cudaStream_t stream) const {
    cuda::scan_forward(config_, input(rows_.data(), adt_.data(), dt_.data(), trap_.data(), rate_.data()),
                       weights.scan(Side::device), sequences(), out_.data(), workspace_.data(), stream);
  }

  // Of one launch from zero states: the last sequence, its first and last head, whole.
  Check check(const HeadWeights& weights, cudaStream_t stream) const {
    const std::int64_t first = shape_.total() - shape_.tokens, T = shape_.tokens, P = config_.headdim;
    const std::int64_t H = config_.n_heads(), width = config_.in_rows(), E = config_.d_inner();
    const auto rows = test::on_host(rows_.data() + first * width, T * width, stream);
    const auto out = test::on_host(out_.data() + first * E, T * E, stream);
    const auto adt = test::on_host(adt_.data() + first * H, T * H, stream);
    const auto dt = test::on_host(dt_.data() + first * H, T * H, stream);
    const auto trap = test::on_host(trap_.data() + first * H, T * H, stream);
    const auto rate =
        test::on_host(rate_.data() + first * config_.n_angles(), T * config_.n_angles(), stream);
    std::array<test::RelativeError, 2> errors;
    parallel_each(2, [&](std::int64_t i) {
      const std::int64_t head = i * (H - 1);
      const auto parameters = test::head_parameters(config_, weights.scan(Side::host), head);
      const auto in =
          test::scan_head_input(config_, input(rows.data(), adt.data(), dt.data(), trap.data(), rate.data()),
                                parameters, 0, T, head);
      auto state = test::HeadState::zeros(test::one_head(config_));
      const auto expected = test::run_head(config_, parameters, in, state);
      for (std::int64_t t = 0; t < T; ++t) {
        for (std::int64_t p = 0; p < P; ++p)
          errors[i].add(test::as_double(out[t * E + head * P + p]), expected[t * P + p]);
      }
    });
    const double a = errors[0].value(), b = errors[1].value();
    return {a <= b ? b : a, 1e-2};
  }

  // Rows and output once, and the states out and in.
  static double bytes(const Mamba3Config& c, const ScanShape& shape) {
    const double row = 2.0 * static_cast<double>(c.in_rows() + c.d_inner()) +
                       4.0 * static_cast<double>(3 * c.n_heads() + c.n_angles());
    return static_cast<double>(shape.total()) * row + 2 * static_cast<double>(shape.batch) * state_bytes(c);
  }

 private:
  cuda::ScanInput input(const bf16* rows, const float* adt, const float* dt, const float* trap,
                        const float* rate) const {
    const std::int64_t E = config_.d_inner(), width = config_.in_rows();
    const bf16* B = rows + 2 * E;
    return {rows, rows + E, B, B + config_.bc_width(), adt, dt, trap, rate, width, width};
  }
  cuda::ScanSequences sequences() const {
    return {shape_.batch, shape_.total(), shape_.tokens, starts_.data(), state_pointers_.data(), 0};
  }

  Mamba3Config config_;
  Mamba3Layout layout_;
  ScanShape shape_;
  cuda::Buffer<bf16> rows_;
  cuda::Buffer<float> adt_, dt_, trap_, rate_, states_;
  cuda::Buffer<bf16> out_;
  cuda::Buffer<float*> state_pointers_;
  cuda::Buffer<std::int32_t> starts_;
  cuda::Buffer<std::byte> workspace_;
};

Found measure(const ScanShape& shape, const Workshop& shop) {
  const Mamba3Config c = released_mixer(shape.rank);
  const HeadWeights weights(c, shop.stream());
  const double bytes = ScanSet::bytes(c, shape);
  const auto count = static_cast<std::uint64_t>(static_cast<double>(kBeyondCaches) / bytes) + 1;
  std::vector<ScanSet> sets;
  for (std::uint64_t i = 0; i < count; ++i) sets.emplace_back(c, shape, 100 * i, shop.stream());
  sets.back().launch(weights, shop.stream());
  Found found{.bytes = bytes,
              .operations = static_cast<double>(shape.total()) * token_operations(c),
              .check = sets.back().check(weights, shop.stream())};
  if (!found.check.holds()) return found;
  found.values = graph_seconds(shop.stream(), static_cast<double>(sets.size()), [&] {
    for (const ScanSet& set : sets) set.launch(weights, shop.stream());
  });
  return found;
}

}  // namespace

void add_scan_rows(std::vector<Row>& rows) {
  struct Case {
    ScanShape shape;
    double target;
  };
  for (const auto& [shape, target] :
       {Case{{1, 16, 4096}, 1.2e-3}, Case{{1, 1, 16384}, 0.35e-3}, Case{{1, 8, 2048}, 0.32e-3},
        Case{{1, 1, 2048}, 0.06e-3}, Case{{4, 1, 2048}, 0.15e-3}, Case{{4, 8, 2048}, 0.8e-3}}) {
    const Mamba3Config c = released_mixer(shape.rank);
    rows.push_back({fmt::format("scan/{}/{}x{}", mixer_tag(c), shape.batch, shape.tokens),
                    fmt::format("{} scan, batch {}, T {}", mixer_name(c), shape.batch, shape.tokens), target,
                    false, [shape](Workshop& shop) { return measure(shape, shop); }});
  }
}

}  // namespace mamba3::bench
