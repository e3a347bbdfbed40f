// One layer's step, norm to out_proj, by the code and the graphs that the model uses: what eight more layers
// add to a model without MLPs, each with weights and states of its own.
#include <fmt/format.h>

#include <array>

#include "bench/bench.h"
#include "bench/rows.h"
#include "bench/timing.h"
#include "gpu/reference_head.h"
#include "infer/agreement.h"
#include "mixers/mamba3/mamba3.h"
#include "model/network.h"

namespace mamba3::bench {
namespace {

// Four layers' weights alone (200 MB) are larger than any cache.
constexpr std::int64_t kFew = 4, kMany = 12;

Checkpoint stack_checkpoint(std::int64_t rank) {
  ModelConfig config;
  config.d_model = 2048;
  config.n_layer = kMany;
  config.vocab_size = 1024;
  config.mixer = released_mixer(rank);
  return random_checkpoint(config, "layers", 7, DType::bf16);
}

Checkpoint first_layers(Checkpoint checkpoint, std::int64_t layers) {
  checkpoint.config.n_layer = layers;
  checkpoint.parameters = parameter_table(checkpoint.config);
  return checkpoint;
}

std::vector<NetworkState*> pointers(std::vector<NetworkState>& states) {
  std::vector<NetworkState*> all;
  for (NetworkState& state : states) all.push_back(&state);
  return all;
}

// The same layers, few and many of them, on the GPU; the few in float32 on the CPU.
class LayerStack {
 public:
  explicit LayerStack(std::int64_t rank)
      : checkpoint_(stack_checkpoint(rank)),
        few_(std::make_shared<const Network>(first_layers(checkpoint_, kFew),
                                             NetworkOptions{.device = Device::cuda})),
        many_(checkpoint_, {.device = Device::cuda}),
        reference_(first_layers(checkpoint_, kFew), {.exact = true}) {}

  // Hidden vectors of the first and the last session over more than a write-back period.
  Check check(std::int64_t batch) const {
    const std::int64_t D = 2048, steps = period() + 2;
    const std::vector<std::int64_t> chosen =
        batch > 1 ? std::vector{std::int64_t{0}, batch - 1} : std::vector{std::int64_t{0}};
    std::vector<NetworkState> states(static_cast<std::size_t>(batch), few_.network().zero_state());
    std::vector<NetworkState> expected_states(chosen.size(), reference_.zero_state());
    std::vector<float> hidden(static_cast<std::size_t>(batch * D)), expected(chosen.size() * D);
    test::RelativeError error;
    for (std::int64_t i = 0; i < steps; ++i) {
      const auto ids = made_up_tokens(few_, i * batch, batch);
      std::vector<TokenId> of_chosen;
      for (const std::int64_t session : chosen) of_chosen.push_back(ids[session]);
      Arena arena;
      few_.network().step(arena, ids, pointers(states), hidden.data());
      reference_.step(arena, of_chosen, pointers(expected_states), expected.data());
      for (std::int64_t j = 0; j < std::ssize(expected); ++j)
        error.add(hidden[chosen[j / D] * D + j % D], expected[j]);
    }
    return {error.value(), allowed_logits_error(few_)};
  }

  // Of one step of one layer.
  std::vector<double> seconds(std::int64_t batch) const {
    constexpr int kRepeats = 10;
    const std::int64_t steps = period() * (batch <= 16 ? 8 : 2);
    std::vector<NetworkState> of_few(static_cast<std::size_t>(batch), few_.network().zero_state());
    std::vector<NetworkState> of_many(static_cast<std::size_t>(batch), many_.zero_state());
    std::vector<double> values;
    for (int i = -1; i < kRepeats; ++i) {
      const double apart = greedy(many_, of_many, steps) - greedy(few_.network(), of_few, steps);
      if (i >= 0) values.push_back(apart / static_cast<double>((kMany - kFew) * steps));
    }
    return values;
  }

  double bytes(std::int64_t batch) const {
    const Mamba3Config& c = checkpoint_.config.mixer;
    const double weights = 2.0 * static_cast<double>(c.d_model * (c.in_rows() + c.d_inner())) +
                           4.0 * static_cast<double>(c.d_model * c.dynamics_rows());
    return weights + static_cast<double>(batch) * step_bytes(layout());
  }
  double operations(std::int64_t batch) const {
    const Mamba3Config& c = checkpoint_.config.mixer;
    const auto rows = static_cast<double>(c.in_rows() + c.d_inner() + c.dynamics_rows());
    return static_cast<double>(batch) * (2.0 * static_cast<double>(c.d_model) * rows + token_operations(c));
  }

 private:
  Mamba3Layout layout() const { return {checkpoint_.config.mixer, mamba3_chunk(checkpoint_.config.mixer)}; }
  std::int64_t period() const { return layout().fold_every(); }

  double greedy(const Network& network, std::vector<NetworkState>& states, std::int64_t steps) const {
    Arena arena;
    auto ids = made_up_tokens(few_, 0, std::ssize(states));
    return host_seconds([&] { network.greedy(arena, ids, pointers(states), steps); });
  }

  Checkpoint checkpoint_;
  Model few_;
  Network many_;
  Network reference_;
};

}  // namespace

void add_layer_rows(std::vector<Row>& rows) {
  constexpr std::array<std::int64_t, 4> kBatches = {1, 16, 128, 256};
  constexpr std::array<double, 4> kSiso = {17e-6, 36e-6, 115e-6, 205e-6},
                                  kMimo = {19e-6, 40e-6, 130e-6, 240e-6};
  for (const std::int64_t rank : {1, 4}) {
    const Mamba3Config c = released_mixer(rank);
    const auto stack = std::make_shared<std::unique_ptr<LayerStack>>();
    for (std::size_t i = 0; i < kBatches.size(); ++i) {
      const auto measure = [stack, rank, batch = kBatches[i],
                            last = i + 1 == kBatches.size()](Workshop& shop) {
        if (!*stack) {
          shop.say("making layers");
          *stack = std::make_unique<LayerStack>(rank);
        }
        Found found{.bytes = (*stack)->bytes(batch),
                    .operations = (*stack)->operations(batch),
                    .check = (*stack)->check(batch)};
        if (found.check.holds()) found.values = (*stack)->seconds(batch);
        if (last) stack->reset();
        return found;
      };
      rows.push_back({fmt::format("layer/{}/{}", mixer_tag(c), kBatches[i]),
                      fmt::format("{} layer's step, batch {}", mixer_name(c), kBatches[i]),
                      (rank == 1 ? kSiso : kMimo)[i], false, measure});
    }
  }
}

}  // namespace mamba3::bench
