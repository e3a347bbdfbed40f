#include "model/reference_model.h"
#include "selftest/convert.h"
#include "selftest/implementation.h"

namespace mamba3::selftest {
namespace {

template <typename T>
class ReferenceModel : public ModelUnderTest {
 public:
  explicit ReferenceModel(const Checkpoint& checkpoint) : model_(checkpoint), state_(model_.zero_state()) {}

  // Every call computes token by token, so calls and steps are the same loops.
  Reading read(std::span<const TokenId> ids, const Calls&) override {
    state_ = model_.zero_state();
    reference::Values<T> residual;
    const auto logits = model_.logits(model_.hidden(ids, state_, &residual));
    return {cast<double>(logits), cast<double>(reference::nll<T>(logits, ids)), cast<double>(residual)};
  }

  Values step(TokenId id) override { return cast<double>(model_.logits(model_.hidden({&id, 1}, state_))); }

 private:
  reference::Model<T> model_;
  typename reference::Model<T>::State state_;
};

template <typename T>
class Reference : public Implementation {
 public:
  Values mixer(const Params& params, const Mamba3Config& config, const Values& u, const Calls& calls,
               State& state) const override {
    const auto p = cast<T>(params);
    const auto input = cast<T>(u);
    auto s = cast<T>(state);
    reference::Values<T> out;
    std::int64_t first = 0;
    for (const auto& [tokens, by_steps] : calls) {
      append(out, reference::mixer(p, config, &input[first * config.d_model], tokens, s));
      first += tokens;
    }
    state = cast<double>(s);
    return cast<double>(out);
  }

  ScanOutput scan(const Params& params, const Mamba3Config& config, const ScanInput& input,
                  const Calls& calls, State& state) const override {
    const auto p = cast<T>(params);
    const auto whole = cast<T>(input);
    auto s = cast<T>(state);
    reference::Values<T> ys, outs;
    std::int64_t first = 0;
    for (const auto& [tokens, by_steps] : calls) {
      const auto part = rows_between(whole, first, first + tokens);
      const auto y = reference::scan(part, p, config, s);
      append(ys, y);
      append(outs, reference::gate(y, part.z, p, config, tokens));
      first += tokens;
    }
    state = cast<double>(s);
    return {cast<double>(ys), cast<double>(outs)};
  }

  Values steps(const Params& params, const Mamba3Config& config, const Values& u,
               const std::vector<State>& start, std::vector<State>& after) const override {
    const auto p = cast<T>(params);
    const auto input = cast<T>(u);
    std::vector<reference::Mamba3State<T>> states;
    for (const State& s : start) states.push_back(cast<T>(s));
    reference::Values<T> out;
    for (std::size_t row = 0; row < input.size() / config.d_model; ++row) {
      auto& state = states[row % states.size()];
      append(out, reference::mixer(p, config, &input[row * config.d_model], 1, state));
      after.push_back(cast<double>(state));
    }
    return cast<double>(out);
  }

  std::unique_ptr<ModelUnderTest> open(const Checkpoint& checkpoint) const override {
    return std::make_unique<ReferenceModel<T>>(checkpoint);
  }
};

}  // namespace

template <typename T>
std::unique_ptr<Implementation> make_reference() {
  return std::make_unique<Reference<T>>();
}
template std::unique_ptr<Implementation> make_reference<float>();
template std::unique_ptr<Implementation> make_reference<double>();

}  // namespace mamba3::selftest
