// Whole models: prompts, and steps of sessions.
#include <fmt/format.h>

#include <algorithm>

#include "bench/bench.h"
#include "bench/rows.h"
#include "bench/timing.h"
#include "core/error.h"
#include "infer/agreement.h"
#include "infer/workload.h"
#include "mixers/mamba3/mamba3.h"
#include "model/network.h"

namespace mamba3::bench {
namespace {

constexpr int kRepeats = 7;
const std::string kSiso = "mamba3-siso-1.5b", kMimo = "mamba3-mimo-1.5b";

std::string tag(const std::string& shape) {
  return shape == kMimo ? "mimo" : "siso";
}
std::string title(const std::string& shape) {
  return shape == kMimo ? "1.5B MIMO" : "1.5B SISO";
}

// Sessions of one network, side by side.
class Sessions {
 public:
  Sessions(const Model& model, std::int64_t batch)
      : model_(model), states_(static_cast<std::size_t>(batch), model.network().zero_state()) {
    for (NetworkState& state : states_) all_.push_back(&state);
  }

  std::vector<NetworkState>& states() { return states_; }

  // Prompts, and the logits after each.
  void read(std::int64_t tokens) {
    const Network& network = model_.network();
    const std::int64_t D = network.config().d_model, batch = std::ssize(all_);
    if (std::ssize(ids_) != tokens) ids_ = made_up_tokens(model_, 0, tokens);
    prompts_.clear();
    for (NetworkState* state : all_) prompts_.push_back({ids_, state});
    network.prefill_all(arena_, prompts_);
    hidden_.resize(static_cast<std::size_t>(batch * D));
    logits_.resize(static_cast<std::size_t>(batch * network.config().vocab_rows()));
    for (std::int64_t i = 0; i < batch; ++i)
      std::copy_n(all_[i]->hidden_of(all_[i]->position - 1), D, &hidden_[i * D]);
    network.logits(arena_, hidden_.data(), batch, logits_.data());
  }

  // The likeliest tokens, one after the other.
  void write(std::int64_t steps) {
    auto ids = made_up_tokens(model_, 0, std::ssize(all_));
    model_.network().greedy(arena_, ids, all_, steps);
  }

 private:
  const Model& model_;
  Arena arena_;
  std::vector<NetworkState> states_;
  std::vector<NetworkState*> all_;
  std::vector<TokenId> ids_;
  std::vector<Prompt> prompts_;
  std::vector<float> hidden_, logits_;
};

std::int64_t period(const Model& model) {
  const Mamba3Config& c = model.network().config().mixer;
  return Mamba3Layout(c, mamba3_chunk(c)).fold_every();
}

Found measure_prefill(const Workshop::Made& made, std::int64_t batch, std::int64_t tokens) {
  const Workload work = Workload::of(made.model.network().checkpoint());
  Found found{.bytes = static_cast<double>(work.weight_bytes),
              .operations = static_cast<double>(batch) * work.prompt_operations(tokens),
              .check = made.check};
  if (!found.check.holds()) return found;
  Sessions sessions(made.model, batch);
  for (int i = -2; i < kRepeats; ++i) {
    const double seconds = host_seconds([&] { sessions.read(tokens); });
    if (i >= 0) found.values.push_back(seconds);
  }
  return found;
}

double step_seconds(Sessions& sessions, std::int64_t steps) {
  return host_seconds([&] { sessions.write(steps); }) / static_cast<double>(steps);
}

Found measure_decode(const Workshop::Made& made, std::int64_t batch) {
  const Network& network = made.model.network();
  const Workload work = Workload::of(network.checkpoint());
  const Mamba3Config& c = network.config().mixer;
  const double state = static_cast<double>(network.config().n_layer) * step_bytes({c, mamba3_chunk(c)});
  const auto sessions_now = static_cast<double>(batch);
  Found found{.bytes = static_cast<double>(work.weight_bytes) + sessions_now * state,
              .operations = sessions_now * work.prompt_operations(1),
              .check = made.check};
  if (!found.check.holds()) return found;
  Sessions sessions(made.model, batch);
  const std::int64_t steps = period(made.model) * 8;
  for (int i = -1; i < kRepeats; ++i) {
    const double seconds = step_seconds(sessions, steps);
    if (i >= 0) found.values.push_back(seconds);
  }
  return found;
}

// A step's work depends on the position through the write-backs alone, so a position can be claimed; with
// --deep the text is really read.
void move_to(Sessions& sessions, std::int64_t position, bool deep) {
  if (deep) {
    sessions.read(position);
  } else {
    sessions.states().front().position = position;
  }
}

Found measure_depth(const Workshop::Made& made, const Workshop& shop) {
  constexpr std::int64_t kShallow = 1'000, kDeep = 1'000'000;
  Sessions shallow(made.model, 1), deep(made.model, 1);
  move_to(shallow, kShallow, shop.deep());
  move_to(deep, kDeep, shop.deep());
  const std::int64_t steps = period(made.model) * 8;
  Found found{.check = made.check};
  if (!found.check.holds()) return found;
  for (int i = -1; i < kRepeats; ++i) {
    const double of_deep = step_seconds(deep, steps), of_shallow = step_seconds(shallow, steps);
    if (i >= 0) found.values.push_back(of_deep / of_shallow);
  }
  return found;
}

void add_prefill(std::vector<Row>& rows, const std::string& shape, std::int64_t batch, std::int64_t tokens,
                 double target) {
  rows.push_back(
      {fmt::format("prefill/{}/{}x{}", tag(shape), batch, tokens),
       fmt::format("{} prefill, {} x {}", title(shape), batch, tokens), target, false,
       [=](Workshop& shop) { return measure_prefill(shop.model(shape, DType::bf16), batch, tokens); }});
}

void add_decode(std::vector<Row>& rows, const std::string& shape, DType type, std::int64_t batch,
                double target) {
  rows.push_back({fmt::format("decode/{}/{}/{}", tag(shape), name_of(type), batch),
                  fmt::format("{} decode, {}, batch {}", title(shape), name_of(type), batch), target, false,
                  [=](Workshop& shop) { return measure_decode(shop.model(shape, type), batch); }});
}

}  // namespace

// Rows of one model stand together: it is made once.
void add_model_rows(std::vector<Row>& rows) {
  add_prefill(rows, kSiso, 1, 512, 4e-3);
  add_prefill(rows, kSiso, 1, 2048, 11e-3);
  add_prefill(rows, kSiso, 1, 16384, 80e-3);
  add_prefill(rows, kSiso, 8, 2048, 80e-3);
  add_prefill(rows, kSiso, 16, 4096, 320e-3);
  add_decode(rows, kSiso, DType::bf16, 1, 0.90e-3);
  add_decode(rows, kSiso, DType::bf16, 16, 1.35e-3);
  add_decode(rows, kSiso, DType::bf16, 128, 3.3e-3);
  rows.push_back({"depth/siso", "1.5B SISO decode, depth 1,000,000 over 1,000", 1.02, true,
                  [](Workshop& shop) { return measure_depth(shop.model(kSiso, DType::bf16), shop); }});
  add_start_row(rows);
  add_prefill(rows, kMimo, 1, 2048, 13e-3);
  add_prefill(rows, kMimo, 8, 2048, 95e-3);
  add_decode(rows, kMimo, DType::bf16, 1, 0.95e-3);
  add_decode(rows, kMimo, DType::bf16, 16, 1.5e-3);
  add_decode(rows, kMimo, DType::bf16, 128, 3.7e-3);
  add_decode(rows, kSiso, DType::q8_0, 1, 0.55e-3);
  add_decode(rows, kSiso, DType::q4_k, 1, 0.38e-3);
}

}  // namespace mamba3::bench
