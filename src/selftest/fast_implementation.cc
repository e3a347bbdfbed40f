#include <array>
#include <limits>

#include "core/half.h"
#include "mixers/mamba3/mamba3.h"
#include "model/network.h"
#include "ops/linear/pack.h"
#include "selftest/convert.h"
#include "selftest/implementation.h"

namespace mamba3::selftest {
namespace {

using Floats = std::vector<float>;
using Bytes = std::vector<std::byte>;

/// Rows of a window as a caller has them who wrote the tokens alone: NaN in every other row.
template <typename T>
Floats padded(const RowWindow& window, const std::vector<T>& tokens) {
  const auto width = static_cast<std::int64_t>(tokens.size()) / window.tokens();
  Floats rows(static_cast<std::size_t>(window.rows * width), std::numeric_limits<float>::quiet_NaN());
  std::copy(tokens.begin(), tokens.end(), rows.begin() + window.begin * width);
  return rows;
}

Floats unwritten(std::int64_t count) {
  return Floats(static_cast<std::size_t>(count), std::numeric_limits<float>::quiet_NaN());
}

Floats tokens_of(const RowWindow& window, const Floats& rows) {
  return rows_between(rows, window.rows, window.begin, window.end);
}

/// Owns what Mamba3Weights looks at.
class Weights {
 public:
  Weights(const Params& params, const Mamba3Config& config, DType type) : floats_(cast<float>(params)) {
    const auto D = config.d_model;
    if (!params.in_proj.empty()) {
      in_proj_ = stored(floats_.in_proj, type);
      out_proj_ = stored(floats_.out_proj, type);
      const Matrix whole{type, config.in_rows() + config.dynamics_rows(), D, in_proj_.data()};
      packed_[0] = OwnMatrix({type, config.in_rows(), D, in_proj_.data()});
      packed_[1] = OwnMatrix({type, config.dynamics_rows(), D, whole.row(config.in_rows())}, true);
      packed_[2] = OwnMatrix({type, D, config.d_inner(), out_proj_.data()});
      view_.in_proj = packed_[0].view();
      view_.dynamics = packed_[1].view();
      view_.out_proj = packed_[2].view();
    }
    view_.dt_bias = pointer(floats_.dt_bias);
    view_.B_bias = pointer(floats_.B_bias);
    view_.C_bias = pointer(floats_.C_bias);
    view_.B_norm = pointer(floats_.B_norm);
    view_.C_norm = pointer(floats_.C_norm);
    view_.D = pointer(floats_.D);
    view_.mimo_x = pointer(floats_.mimo_x);
    view_.mimo_z = pointer(floats_.mimo_z);
    view_.mimo_o = pointer(floats_.mimo_o);
    view_.norm = pointer(floats_.norm);
  }
  Weights(const Weights&) = delete;
  Weights& operator=(const Weights&) = delete;

  const Mamba3Weights& view() const { return view_; }

 private:
  static const float* pointer(const Floats& values) { return values.empty() ? nullptr : values.data(); }

  static Bytes stored(const Floats& values, DType type) {
    const auto count = static_cast<std::int64_t>(values.size());
    Bytes bytes(static_cast<std::size_t>(*bytes_of(type, count)));
    from_float(type, values.data(), count, bytes.data());
    return bytes;
  }

  reference::Mamba3Params<float> floats_;
  Bytes in_proj_, out_proj_;
  std::array<OwnMatrix, 3> packed_;
  Mamba3Weights view_;
};

class FastModel : public ModelUnderTest {
 public:
  FastModel(const Checkpoint& checkpoint, Device device, bool exact)
      : network_(checkpoint, {.device = device, .exact = exact}), state_(network_.zero_state()) {}

  Reading read(std::span<const TokenId> ids, const Calls& calls) override {
    const auto D = network_.config().d_model, tokens = static_cast<std::int64_t>(ids.size());
    const auto depths = network_.config().n_layer + 1;
    Floats hidden, residual = unwritten(depths * tokens * D);
    Reading reading;
    const auto on_hidden = [&](const RowWindow& window, const float* rows) {
      hidden.insert(hidden.end(), rows + window.begin * D, rows + window.end * D);
      append(reading.nll, nll(window, rows, ids));
    };
    const auto on_residual = [&](std::int64_t depth, const RowWindow& window, const float* rows) {
      const auto position = window.position + window.begin;
      std::copy(rows + window.begin * D, rows + window.end * D, &residual[(depth * tokens + position) * D]);
    };
    state_ = network_.zero_state();
    last_hidden_ = unwritten(D);
    for (std::int64_t first = 0; const auto& [count, by_steps] : calls) {
      const auto part = ids.subspan(first, count);
      if (by_steps) {
        for (const TokenId id : part) append(hidden, hidden_after(id));
      } else {
        network_.prefill(arena_, part, state_, last_hidden_.data(), {on_hidden, on_residual});
      }
      first += count;
    }
    std::copy(last_hidden_.begin(), last_hidden_.end(), hidden.end() - D);  // what a session goes on with
    reading.logits = logits(hidden);
    reading.residual = cast<double>(residual);
    return reading;
  }

  Values step(TokenId id) override { return logits(hidden_after(id)); }

 private:
  const Floats& hidden_after(TokenId id) {
    NetworkState* state = &state_;
    last_hidden_ = unwritten(network_.config().d_model);
    network_.step(arena_, {&id, 1}, {&state, 1}, last_hidden_.data());
    return last_hidden_;
  }

  Values logits(const Floats& hidden) {
    const auto rows = static_cast<std::int64_t>(hidden.size()) / network_.config().d_model;
    Floats found = unwritten(rows * network_.config().vocab_rows());
    network_.logits(arena_, hidden.data(), rows, found.data());
    return cast<double>(found);
  }

  /// Of the window's tokens that have a successor in ids.
  Values nll(RowWindow window, const float* hidden, std::span<const TokenId> ids) {
    const auto tokens = static_cast<std::int64_t>(ids.size());
    window.end = std::min(window.end, tokens - 1 - window.position);
    if (window.tokens() <= 0) return {};
    Values found(static_cast<std::size_t>(window.tokens()), std::numeric_limits<double>::quiet_NaN());
    const auto targets = ids.subspan(window.position + window.begin + 1, window.tokens());
    network_.nll(arena_, window, hidden, targets, found.data());
    return found;
  }

  Network network_;
  NetworkState state_;
  Floats last_hidden_;
  Arena arena_;
};

class Fast : public Implementation {
 public:
  Fast(Device device, DType weights) : device_(device), weights_(weights) {}

  Values mixer(const Params& params, const Mamba3Config& config, const Values& u, const Calls& calls,
               State& state) const override {
    const Weights weights(params, config, weights_);
    LayerState layer = mamba3_import_state(config, cast<float>(state));
    Arena arena;
    const Exec exec{device_, &arena};
    const auto D = config.d_model;
    Floats out;
    for (std::int64_t first = 0; const auto& [tokens, by_steps] : calls) {
      const Floats part(u.begin() + first * D, u.begin() + (first + tokens) * D);
      if (by_steps) {
        auto found = unwritten(tokens * D);
        for (std::int64_t t = 0; t < tokens; ++t) {
          const Mamba3Place place{&layer, first + t};
          mamba3_step(exec, config, weights.view(), &part[t * D], &found[t * D], {&place, 1});
        }
        append(out, found);
      } else {
        const auto window = RowWindow::of(first, tokens);
        const auto rows = padded(window, part);
        auto found = unwritten(window.rows * D);
        mamba3_forward(exec, config, weights.view(), window, rows.data(), found.data(), layer);
        append(out, tokens_of(window, found));
      }
      first += tokens;
    }
    state = cast<double>(mamba3_export_state(config, weights.view(), layer));
    return cast<double>(out);
  }

  ScanOutput scan(const Params& params, const Mamba3Config& given, const ScanInput& input, const Calls& calls,
                  State& state) const override {
    // Goldens spread q and k over the heads and bias them; here the scan does both, so: a group for each head
    // and no bias.
    Mamba3Config config = given;
    config.ngroups = config.n_heads();
    Params unbiased = params;
    unbiased.B_bias.assign(static_cast<std::size_t>(config.bc_width()), 0);
    unbiased.C_bias = unbiased.B_bias;
    const Weights weights(unbiased, config, weights_);
    auto layer = mamba3_import_state(config, cast<float>(state));
    Arena arena;
    Floats ys, outs;
    for (std::int64_t first = 0; const auto& [tokens, by_steps] : calls) {
      const auto window = RowWindow::of(first, tokens);
      const auto part = rows_between(input, first, first + tokens);
      const auto z = padded(window, part.z), x = padded(window, part.x);
      const auto B = padded(window, part.k), C = padded(window, part.q);
      const auto adt = padded(window, part.adt), dt = padded(window, part.dt);
      const auto trap = padded(window, part.trap), angle = padded(window, part.angle);
      auto out = unwritten(window.rows * config.d_inner());
      auto y = unwritten(window.rows * config.rank() * config.d_inner());
      mamba3_scan({device_, &arena}, config, weights.view(), window,
                  {z.data(), x.data(), B.data(), C.data(), adt.data(), dt.data(), trap.data(), angle.data(),
                   config.d_inner(), config.bc_width()},
                  out.data(), y.data(), layer);
      append(ys, tokens_of(window, y));
      append(outs, tokens_of(window, out));
      first += tokens;
    }
    state = cast<double>(mamba3_export_state(config, weights.view(), layer));
    return {cast<double>(ys), cast<double>(outs)};
  }

  Values steps(const Params& params, const Mamba3Config& config, const Values& u,
               const std::vector<State>& start, std::vector<State>& after) const override {
    const Weights weights(params, config, weights_);
    std::vector<LayerState> layers;
    for (const State& s : start) layers.push_back(mamba3_import_state(config, cast<float>(s)));
    std::vector<Mamba3Place> places;
    for (LayerState& layer : layers) places.push_back({&layer, 0});
    const auto row = static_cast<std::int64_t>(start.size()) * config.d_model;
    const auto input = cast<float>(u);
    auto out = unwritten(static_cast<std::int64_t>(u.size()));
    Arena arena;
    for (std::int64_t at = 0; at < static_cast<std::int64_t>(u.size()); at += row) {
      mamba3_step({device_, &arena}, config, weights.view(), &input[at], &out[at], places);
      for (Mamba3Place& place : places) ++place.position;
      for (const LayerState& layer : layers)
        after.push_back(cast<double>(mamba3_export_state(config, weights.view(), layer)));
    }
    return cast<double>(out);
  }

  std::unique_ptr<ModelUnderTest> open(const Checkpoint& checkpoint) const override {
    return std::make_unique<FastModel>(checkpoint, device_, weights_ == DType::f32);
  }

 private:
  Device device_;
  DType weights_;
};

}  // namespace

std::unique_ptr<Implementation> make_fast(Device device, Precision precision) {
  return std::make_unique<Fast>(device, precision == Precision::bf16 ? DType::bf16 : DType::f32);
}

}  // namespace mamba3::selftest
