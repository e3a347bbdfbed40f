#include "ffn/swiglu/mlp.h"

#include <array>

#include "core/threads.h"
#include "ops/swiglu/swiglu.h"

namespace mamba3 {

ParameterTable mlp_parameters(std::int64_t d_model, std::int64_t width) {
  using enum Precision;
  return {
      {"mlp.up",
       "ffn d_model",
       {width, d_model},
       weight,
       Init::fan_in,
       true,
       "mlp.fc1.weight",
       0,
       "ffn_up.weight"},
      {"mlp.gate",
       "ffn d_model",
       {width, d_model},
       weight,
       Init::fan_in,
       true,
       "mlp.fc1.weight",
       width,
       "ffn_gate.weight"},
      {"mlp.down",
       "d_model ffn",
       {d_model, width},
       weight,
       Init::residual_out,
       true,
       "mlp.fc2.weight",
       0,
       "ffn_down.weight"},
  };
}

// Values that are worth a thread: 2 microseconds at 2 a nanosecond.
constexpr std::int64_t kGrain = 4096;

void mlp_forward(const Exec& exec, const MlpWeights& w, const float* x, std::int64_t rows, float* out) {
  const Arena::Scope scope(*exec.arena);
  const std::int64_t F = w.up.rows;
  auto* value = exec.arena->take<float>(rows * F);
  auto* gate = exec.arena->take<float>(rows * F);
  const std::array products = {Product{&w.up, value}, Product{&w.gate, gate}};
  linear(exec, products, x, rows);
  parallel_ranges(
      rows * F,
      [&](std::int64_t first, std::int64_t last) {
        swiglu(exec.device, value + first, gate + first, last - first);
      },
      kGrain);
  linear(exec, w.down, value, rows, out);
}

}  // namespace mamba3
