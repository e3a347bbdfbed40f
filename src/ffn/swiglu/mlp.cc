#include "ffn/swiglu/mlp.h"

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

void mlp_forward(const Exec& exec, const MlpWeights& w, const RowWindow& window, const float* x, float* out) {
  const Arena::Scope scope(*exec.arena);
  const std::int64_t F = w.up.rows;
  auto* value = exec.arena->take<float>(window.rows * F);
  auto* gate = exec.arena->take<float>(window.rows * F);
  linear(exec.device, w.up, x, window.rows, value);
  linear(exec.device, w.gate, x, window.rows, gate);
  parallel_ranges(window.tokens(), [&](std::int64_t first, std::int64_t last) {
    const std::int64_t at = (window.begin + first) * F;
    swiglu(exec.device, value + at, gate + at, (last - first) * F);
  });
  linear(exec.device, w.down, value, window.rows, out);
}

void mlp_step(const Exec& exec, const MlpWeights& w, const float* x, std::int64_t rows, float* out) {
  const Arena::Scope scope(*exec.arena);
  auto* value = exec.arena->take<float>(rows * w.up.rows);
  auto* gate = exec.arena->take<float>(rows * w.up.rows);
  linear_step(exec.device, w.up, x, rows, value);
  linear_step(exec.device, w.gate, x, rows, gate);
  constexpr std::int64_t kWorthSharing = 8192;  // some microseconds of exponentials
  const auto activate = [&](std::int64_t first, std::int64_t last) {
    swiglu(exec.device, value + first, gate + first, last - first);
  };
  parallel_ranges(rows * w.up.rows, activate, kWorthSharing);
  linear_step(exec.device, w.down, value, rows, out);
}

}  // namespace mamba3
