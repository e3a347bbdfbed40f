#include "mixers/mamba3/mamba3.h"

namespace mamba3 {

void mamba3_forward(const Exec& exec, const Mamba3Config& config, const Mamba3Weights& weights,
                    const RowWindow& window, const float* u, float* out, LayerState& state) {
  const auto run = exec.device == Device::cuda ? cuda::mamba3_forward : cpu::mamba3_forward;
  run(exec, config, weights, window, u, out, state);
}

void mamba3_step(const Exec& exec, const Mamba3Config& config, const Mamba3Weights& weights, const float* u,
                 float* out, std::span<const Mamba3Place> places) {
  const auto run = exec.device == Device::cuda ? cuda::mamba3_step : cpu::mamba3_step;
  run(exec, config, weights, u, out, places);
}

void mamba3_rewind(const Exec& exec, const Mamba3Config& config, LayerState& state, std::int64_t tokens) {
  const auto run = exec.device == Device::cuda ? cuda::mamba3_rewind : cpu::mamba3_rewind;
  run(config, state, tokens);
}

void mamba3_scan(const Exec& exec, const Mamba3Config& config, const Mamba3Weights& weights,
                 const RowWindow& window, const Mamba3ScanInput& input, float* out, float* y,
                 LayerState& state) {
  const auto run = exec.device == Device::cuda ? cuda::mamba3_scan : cpu::mamba3_scan;
  run(*exec.arena, config, weights, window, input, out, y, state);
}

}  // namespace mamba3
