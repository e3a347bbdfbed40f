// A Mamba-3 layer with seeded weights, its inputs, and ways to run it.
#pragma once

#include <memory>
#include <numbers>
#include <span>
#include <string>
#include <vector>

#include "mixers/mamba3/mamba3.h"
#include "table.h"
#include "values.h"

namespace mamba3::test {

/// Part of a sequence as a caller reads it: `tokens` tokens in one forward call, or one by one.
struct Call {
  std::int64_t tokens;
  bool by_steps = false;
};
using Calls = std::vector<Call>;

class Mamba3Case {
 public:
  Mamba3Case(const Mamba3Shape& shape, DType type, Device device, std::uint64_t seed = 31);

  const Mamba3Shape& shape() const { return shape_; }
  const Mamba3Config& config() const { return shape_.config; }
  const Mamba3Weights& weights() const { return view_; }
  const Floats& u() const { return u_; }  ///< [tokens, D]
  /// The stored weights and the start in float64.
  reference::Mamba3Params<double> params() const;
  reference::Mamba3State<double> start64() const;
  LayerState start() const;  ///< the same as the layer has it

  /// Runs tokens [done, done + calls) from `state`, which stands at absolute position `first + done`: their
  /// rows
  /// [., D]. Rows of a window without a token are NaN.
  Floats run(LayerState& state, std::int64_t first, std::int64_t done, const Calls& calls) const;
  Floats run(LayerState& state, const Calls& calls) const { return run(state, shape_.first, 0, calls); }

  void rewind(LayerState& state, std::int64_t tokens) const;

  reference::Mamba3State<float> exported(const LayerState& state) const {
    return mamba3_export_state(config(), view_, state);
  }
  /// All four parts of the true state in one vector.
  Floats state_values(const LayerState& state) const;

 private:
  Mamba3Shape shape_;
  Device device_;
  std::unique_ptr<Stored> in_proj_, dynamics_, out_proj_;
  Floats dt_bias_, B_bias_, C_bias_, B_norm_, C_norm_, D_, mimo_x_, mimo_z_, mimo_o_, norm_, u_;
  reference::Mamba3State<float> start_;
  Mamba3Weights view_;
};

}  // namespace mamba3::test
