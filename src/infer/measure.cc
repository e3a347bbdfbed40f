#include "infer/measure.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>

#include "core/arena.h"
#include "core/error.h"
#include "infer/agreement.h"
#include "infer/process.h"
#include "model/network.h"
#include "ops/ceiling/ceiling.h"
#include "ops/ceiling/ceiling_cuda.h"

namespace mamba3 {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

template <typename Work>
double seconds_of(const Work& work) {
  const auto start = Clock::now();
  work();
  return seconds_since(start);
}

class Measuring {
 public:
  Measuring(const Model& model, const MeasureOptions& options,
            const std::function<void(const MeasureProgress&)>& progress)
      : model_(model), network_(model.network()), options_(options), progress_(progress) {
    if (network_.device() == Device::cpu) memory_ = std::make_unique<ReadProbe>();
    const auto largest = static_cast<std::size_t>(std::max(
        *std::ranges::max_element(options.batches), *std::ranges::max_element(options.prompt_batches)));
    hidden_.resize(largest * static_cast<std::size_t>(network_.config().d_model));
    logits_.resize(largest * static_cast<std::size_t>(model.vocab_size()));
    sessions_.resize(largest);
    for (const std::int64_t tokens : options.prompts) {
      for (const std::int64_t batch : options.prompt_batches) result_.prefill.push_back({tokens, batch, {}});
    }
    for (const std::int64_t depth : options.depths) {
      for (const std::int64_t batch : options.batches) result_.decode.push_back({depth, batch, {}, 0});
    }
  }

  Measurement run() {
    fill_depths();
    warm_up();
    const auto figures = std::ssize(result_.prefill) + std::ssize(result_.decode);
    std::int64_t done = 0;
    const auto start = Clock::now();
    const auto begin_figure = [&](const std::string& name) {
      report({name, done++, options_.repeats * figures, "figures", seconds_since(start)});
      if (network_.device() == Device::cpu) measure_ceilings();
    };
    for (std::int64_t round = 1; round <= options_.repeats; ++round) {
      // Nobody shares a GPU; and its products at full rate warm it up so far that its clock falls.
      if (network_.device() == Device::cuda) measure_gpu_ceilings();
      for (PrefillFigure& figure : result_.prefill) {
        begin_figure(fmt::format("round {}: prefill of {}, batch {}", round, figure.tokens, figure.batch));
        figure.seconds.push_back(prefill_seconds(figure.tokens, figure.batch));
      }
      for (DecodeFigure& figure : result_.decode) {
        begin_figure(
            fmt::format("round {}: decode at depth {}, batch {}", round, figure.depth, figure.batch));
        figure.seconds.push_back(step_seconds(figure.depth, figure.batch, options_.decode_tokens));
        figure.resident_bytes = resident_memory_bytes();
      }
    }
    return std::move(result_);
  }

 private:
  void report(const MeasureProgress& progress) const {
    if (progress_) progress_(progress);
  }

  // One long prefill; a copy of the state stays at every depth.
  void fill_depths() {
    constexpr std::int64_t kPiece = 8192;  // seconds apart on a slow machine
    const std::int64_t deepest = *std::ranges::max_element(options_.depths);
    NetworkState state = network_.zero_state();
    for (const std::int64_t depth : options_.depths) at_depth_[depth];
    const auto start = Clock::now();
    for (auto& [depth, kept] : at_depth_) {
      while (state.position < depth) {
        report({"reading up to the depth", state.position, deepest, "tokens", seconds_since(start)});
        const auto ids = made_up_tokens(model_, state.position, std::min(kPiece, depth - state.position));
        network_.prefill(arena_, ids, state, hidden_.data());
      }
      kept = state;
    }
  }

  // Scratch memory and threads are made in the first calls, which do not count.
  void warm_up() {
    constexpr std::int64_t kWholeWindow = 512;
    for (const PrefillFigure& figure : result_.prefill)
      prefill_seconds(std::min(figure.tokens, kWholeWindow), figure.batch);
    for (const DecodeFigure& figure : result_.decode) step_seconds(figure.depth, figure.batch, 1);
  }

  double prefill_seconds(std::int64_t tokens, std::int64_t batch) {
    const auto ids = made_up_tokens(model_, 0, tokens);
    std::vector<NetworkState> states(static_cast<std::size_t>(batch), network_.zero_state());
    std::vector<Prompt> prompts;
    for (NetworkState& state : states) prompts.push_back({ids, &state});
    const std::int64_t D = network_.config().d_model;
    return seconds_of([&] {
      network_.prefill_all(arena_, prompts);
      for (std::int64_t b = 0; b < batch; ++b)
        std::copy_n(states[b].hidden_of(tokens - 1), D, hidden_.data() + b * D);
      network_.logits(arena_, hidden_.data(), batch, logits_.data());
    });
  }

  double step_seconds(std::int64_t depth, std::int64_t batch, std::int64_t steps) {
    std::vector<NetworkState*> states;
    for (std::int64_t b = 0; b < batch; ++b) states.push_back(&(sessions_[b] = at_depth_.at(depth)));
    // Does not count: it meets the memory of the copies for the first time.
    auto ids = made_up_tokens(model_, depth, batch);
    network_.greedy(arena_, ids, states, 1);
    return seconds_of([&] { network_.greedy(arena_, ids, states, steps); }) / static_cast<double>(steps);
  }

  void measure_gpu_ceilings() {
    result_.ceilings.memory.push_back(cuda::read_bandwidth());
    result_.ceilings.bf16.push_back(cuda::bf16_matrix_rate());
  }

  void measure_ceilings() {
    Ceilings& c = result_.ceilings;
    // Several passes, since one takes no longer than a neighbour's burst; together they are as long as one
    // figure of a small model.
    constexpr int kPasses = 5;
    for (int i = 0; i < kPasses; ++i) {
      c.memory.push_back(memory_->rate());
      for (const auto& [type, rates] : {std::pair{DotType::f32, &c.f32}, std::pair{DotType::bf16, &c.bf16},
                                        std::pair{DotType::int8, &c.int8}}) {
        if (const auto rate = dot_rate(type)) rates->push_back(*rate);
      }
    }
  }

  const Model& model_;
  const Network& network_;
  const MeasureOptions& options_;
  const std::function<void(const MeasureProgress&)>& progress_;
  std::unique_ptr<ReadProbe> memory_;  // of the CPU
  Arena arena_;
  std::vector<float> hidden_, logits_;
  std::map<std::int64_t, NetworkState> at_depth_;
  std::vector<NetworkState> sessions_;
  Measurement result_;
};

}  // namespace

void MeasureOptions::check() const {
  constexpr std::int64_t kMost = 1'000'000'000;
  const auto in_range = [&](const char* what, std::int64_t least, const std::vector<std::int64_t>& values) {
    if (values.empty()) fail(ErrorCode::invalid_argument, "{} is missing", what);
    for (const std::int64_t value : values) {
      if (value >= least && value <= kMost) continue;
      fail(ErrorCode::invalid_argument, "{} is {}, expected {} to {}", what, value, least, kMost);
    }
  };
  in_range("the number of prompt tokens", 1, prompts);
  in_range("the number of prompts", 1, prompt_batches);
  in_range("the depth", 0, depths);
  in_range("the batch", 1, batches);
  in_range("the number of decoded tokens", 1, {decode_tokens});
  in_range("the number of repeats", 1, {repeats});
}

void MeasureOptions::check_memory(const Model& model) const {
  const std::int64_t batch = *std::ranges::max_element(batches);
  const auto session = static_cast<double>(model.state_bytes() + 4 * model.vocab_size());
  const double needed = session * static_cast<double>(batch + std::ssize(depths));
  const auto available = static_cast<double>(available_memory_bytes());
  if (needed <= available) return;
  fail(
      ErrorCode::invalid_argument,
      "a batch of {} sessions needs {:.1f} GB for their states and logits, {:.1f} GB of memory are available",
      batch, 1e-9 * needed, 1e-9 * available);
}

Measurement measure(const Model& model, const MeasureOptions& options,
                    const std::function<void(const MeasureProgress&)>& progress) {
  options.check();
  options.check_memory(model);
  return Measuring(model, options, progress).run();
}

}  // namespace mamba3
