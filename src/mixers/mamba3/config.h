// The shape of a Mamba-3 mixer. Source: spec "Symbols" and "Official checkpoint"; arXiv 2603.15569.
#pragma once

#include <cstdint>

namespace mamba3 {

/// act(v) in A = -act(dd_A): a property of the checkpoint.
enum class AActivation { heavy_tail, softplus };

struct Mamba3Config {
  std::int64_t d_model = 0;
  std::int64_t d_state = 128;
  std::int64_t expand = 2;
  std::int64_t headdim = 64;
  std::int64_t ngroups = 1;
  double rope_fraction = 0.5;
  bool is_mimo = false;
  std::int64_t mimo_rank = 4;  ///< counts only when is_mimo
  bool is_outproj_norm = false;
  double A_floor = 1e-4;
  AActivation A_activation = AActivation::heavy_tail;

  std::int64_t d_inner() const { return expand * d_model; }      ///< E
  std::int64_t n_heads() const { return d_inner() / headdim; }   ///< H
  std::int64_t rank() const { return is_mimo ? mimo_rank : 1; }  ///< R
  std::int64_t n_angles() const {                                ///< S
    return static_cast<std::int64_t>(static_cast<double>(d_state) * rope_fraction) / 2;
  }
  std::int64_t bc_width() const { return rank() * ngroups * d_state; }       ///< R G N
  std::int64_t in_rows() const { return 2 * d_inner() + 2 * bc_width(); }    ///< z, x, B, C
  std::int64_t dynamics_rows() const { return 3 * n_heads() + n_angles(); }  ///< dt, A, trap, angle

  /// Throws Error(invalid_argument) naming the first field that does not fit, with the numbers. `where`
  /// stands in front of the sentence.
  void check(const char* where) const;
};

inline constexpr double kNormEpsilon = 1e-5;  ///< of every RMSNorm and LayerNorm of the reference

}  // namespace mamba3
