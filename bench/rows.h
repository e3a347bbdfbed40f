// A Mamba-3 layer of the released head shape, and what its kernels have to move and to do.
#pragma once

#include <cstdint>
#include <string>

#include "mixers/mamba3/config.h"
#include "mixers/mamba3/layout.h"

namespace mamba3::bench {

/// d_model 2048: H 64, P 64, N 128, G 1.
inline Mamba3Config released_mixer(std::int64_t rank) {
  return {.d_model = 2048, .is_mimo = rank > 1, .mimo_rank = rank};
}

inline std::string mixer_name(const Mamba3Config& c) {
  return c.is_mimo ? "MIMO R " + std::to_string(c.rank()) : "SISO";
}
inline std::string mixer_tag(const Mamba3Config& c) {
  return c.is_mimo ? "mimo" : "siso";
}

/// Bytes of a sequence's state.
inline double state_bytes(const Mamba3Config& c) {
  return 4.0 *
         static_cast<double>(c.n_heads() * (c.d_state * (c.headdim + c.rank()) + c.headdim + c.n_angles()));
}

/// Bytes that a step moves in a layer's state of one session, mean over a write-back period: the checkpoint
/// and the tokens of the tail are read, a token is written, and once a period the checkpoint.
inline double step_bytes(const Mamba3Layout& l) {
  const auto F = static_cast<double>(l.fold_every());
  const double h = static_cast<double>(l.d_state * l.wide_p), token = static_cast<double>(l.token);
  return 4.0 * static_cast<double>(l.heads) * (h + h / F + (1 + (F - 1) / 2) * token + token);
}

/// Operations of a layer for a token: outer products and read-out of the state.
inline double token_operations(const Mamba3Config& c) {
  return 4.0 * static_cast<double>(c.n_heads() * c.rank() * c.d_state * c.headdim);
}

}  // namespace mamba3::bench
