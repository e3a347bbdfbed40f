#include "mixers/mamba3/inputs_cpu.h"

#include <algorithm>

#include "ops/norm/norm.h"

namespace mamba3::cpu {

void unpack_dynamics(const Mamba3Config& c, const float* dt_bias, const float* projected, std::int64_t begin,
                     std::int64_t end, const Mamba3Dynamics& out) {
  const auto H = c.n_heads(), S = c.n_angles();
  for (std::int64_t t = begin; t < end; ++t) {
    const float* row = projected + t * c.dynamics_rows();
    for (std::int64_t h = 0; h < H; ++h) out.dt[t * H + h] = row[h] + dt_bias[h];
    std::copy_n(row + 2 * H, H, out.trap + t * H);
    std::copy_n(row + 3 * H, S, out.angle + t * S);
    const float* dd_A = row + H;
    float* A = out.adt + t * H;
    if (c.A_activation == AActivation::softplus) {
      cpu::softplus(dd_A, H, A);
    } else {
      for (std::int64_t h = 0; h < H; ++h) A[h] = dd_A[h] >= 0 ? 1 + dd_A[h] : 1 / (1 - dd_A[h]);
    }
  }
  cpu::softplus(out.dt + begin * H, (end - begin) * H, out.dt + begin * H);
  const auto floor = static_cast<float>(c.A_floor);
  for (std::int64_t i = begin * H; i < end * H; ++i) out.adt[i] = -std::max(out.adt[i], floor) * out.dt[i];
}

void norm_row(const Mamba3Config& c, const Mamba3Weights& w, float* row) {
  float* B = row + 2 * c.d_inner();
  const auto vectors = c.rank() * c.ngroups;
  cpu::norm({w.B_norm, nullptr, c.d_state}, B, vectors, B);
  cpu::norm({w.C_norm, nullptr, c.d_state}, B + c.bc_width(), vectors, B + c.bc_width());
}

Mamba3HeadWeights weights_of(const Mamba3Config& c, const Mamba3Weights& w, std::int64_t head) {
  const auto RN = c.rank() * c.d_state, RP = c.rank() * c.headdim;
  const auto at = [](const float* base, std::int64_t offset) {
    return base == nullptr ? nullptr : base + offset;
  };
  return {w.B_bias + head * RN,
          w.C_bias + head * RN,
          at(w.mimo_x, head * RP),
          at(w.mimo_z, head * RP),
          at(w.mimo_o, head * RP),
          at(w.norm, head * c.headdim),
          w.D[head]};
}

}  // namespace mamba3::cpu
