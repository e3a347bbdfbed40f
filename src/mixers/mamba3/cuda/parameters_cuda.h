// A Mamba-3 layer's small parameters in a device's memory.
#pragma once

namespace mamba3::cuda {

/// In float32, each on a boundary of 16 bytes. H heads, P headdim, E = H P, N d_state, R rank.
struct Mamba3Parameters {
  const float* dt_bias = nullptr;  // [H]
  const float* B_bias = nullptr;   // [H, R, N]
  const float* C_bias = nullptr;   // [H, R, N]
  const float* B_norm = nullptr;   // [N]
  const float* C_norm = nullptr;   // [N]
  const float* D = nullptr;        // [H]
  const float* mimo_x = nullptr;   // [H, R, P], null for SISO
  const float* mimo_z = nullptr;   // [H, R, P], null for SISO
  const float* mimo_o = nullptr;   // [H, R, P], null for SISO
  const float* norm = nullptr;     // [E], null without is_outproj_norm
};

}  // namespace mamba3::cuda
