// One head of a Mamba-3 layer in float64, on exactly what a GPU's kernels were given.
#pragma once

#include <cuda_bf16.h>

#include <cmath>
#include <numbers>
#include <span>
#include <vector>

#include "mixers/mamba3/cuda/scan_cuda.h"
#include "mixers/mamba3/cuda/step_cuda.h"
#include "mixers/mamba3/reference.h"

namespace mamba3::test {

using HeadState = reference::Mamba3State<double>;
using HeadInput = reference::ScanInput<double>;
using HeadParameters = reference::Mamba3Params<double>;

inline double as_double(double v) {
  return v;
}
inline double as_double(float v) {
  return v;
}
inline double as_double(__nv_bfloat16 v) {
  return __bfloat162float(v);
}

/// The layer with one of its heads.
inline Mamba3Config one_head(Mamba3Config c) {
  c.d_model = c.headdim, c.expand = 1, c.ngroups = 1;
  return c;
}

/// `count` values as float64; none for null.
template <typename T>
std::vector<double> doubles_from(const T* values, std::int64_t count) {
  std::vector<double> all;
  if (values == nullptr) return all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back(as_double(values[i]));
  return all;
}

/// A head's parameters; `p` has pointers into host memory.
inline HeadParameters head_parameters(const Mamba3Config& c, const cuda::Mamba3Parameters& p,
                                      std::int64_t head) {
  const std::int64_t RN = c.rank() * c.d_state, RP = c.rank() * c.headdim;
  const auto of_head = [&](const float* values, std::int64_t size) {
    return doubles_from(values == nullptr ? nullptr : values + head * size, size);
  };
  HeadParameters one;
  one.B_bias = of_head(p.B_bias, RN), one.C_bias = of_head(p.C_bias, RN), one.D = of_head(p.D, 1);
  one.mimo_x = of_head(p.mimo_x, RP), one.mimo_z = of_head(p.mimo_z, RP);
  one.mimo_o = of_head(p.mimo_o, RP), one.norm = of_head(p.norm, c.headdim);
  return one;
}

/// B or C of one token and group, rank by rank, with a head's bias: [R, N].
template <typename T>
void append_biased(const Mamba3Config& c, const T* groups, std::int64_t group,
                   const std::vector<double>& bias, std::vector<double>& to) {
  for (std::int64_t r = 0; r < c.rank(); ++r) {
    for (std::int64_t n = 0; n < c.d_state; ++n)
      to.push_back(as_double(groups[(r * c.ngroups + group) * c.d_state + n]) + bias[r * c.d_state + n]);
  }
}

/// A head's inputs of the scan for tokens [first, first + tokens); `rows` has pointers into host memory.
inline HeadInput scan_head_input(const Mamba3Config& c, const cuda::ScanInput& rows,
                                 const HeadParameters& parameters, std::int64_t first, std::int64_t tokens,
                                 std::int64_t head) {
  const std::int64_t H = c.n_heads(), P = c.headdim, S = c.n_angles(), group = head / (H / c.ngroups);
  HeadInput in;
  in.tokens = tokens;
  for (std::int64_t t = first; t < first + tokens; ++t) {
    for (std::int64_t p = 0; p < P; ++p) {
      in.x.push_back(as_double(rows.x[t * rows.zx_stride + head * P + p]));
      in.z.push_back(as_double(rows.z[t * rows.zx_stride + head * P + p]));
    }
    append_biased(c, rows.B + t * rows.bc_stride, group, parameters.B_bias, in.k);
    append_biased(c, rows.C + t * rows.bc_stride, group, parameters.C_bias, in.q);
    in.adt.push_back(rows.adt[t * H + head]), in.dt.push_back(rows.dt[t * H + head]);
    in.trap.push_back(rows.trap[t * H + head]);
    for (std::int64_t s = 0; s < S; ++s)
      in.angle.push_back(std::atanh(as_double(rows.rate[t * S + s]) / std::numbers::pi));
  }
  return in;
}

/// The same for single steps of one session: `projected` and `dynamics` are its rows, one for each token, as
/// step_heads takes them; `w` has pointers into host memory.
template <typename T>
HeadInput step_head_input(const Mamba3Config& c, const cuda::Mamba3Parameters& w,
                          const HeadParameters& parameters, std::span<const T* const> projected,
                          std::span<const float* const> dynamics, std::int64_t head) {
  const std::int64_t H = c.n_heads(), P = c.headdim, N = c.d_state, E = c.d_inner(), S = c.n_angles();
  const std::int64_t group = head / (H / c.ngroups);
  const auto B_norm = doubles_from(w.B_norm, N), C_norm = doubles_from(w.C_norm, N);
  const auto normed = [&](const T* from, const std::vector<double>& gain) {
    auto values = doubles_from(from, c.bc_width());
    for (std::int64_t i = 0; i < c.bc_width(); i += N)
      reference::rms_norm(&values[i], gain.data(), N, &values[i]);
    return values;
  };
  HeadInput in;
  in.tokens = std::ssize(projected);
  for (std::int64_t t = 0; t < in.tokens; ++t) {
    const T* row = projected[t];
    const float* steer = dynamics[t];
    for (std::int64_t p = 0; p < P; ++p) {
      in.z.push_back(as_double(row[head * P + p]));
      in.x.push_back(as_double(row[E + head * P + p]));
    }
    append_biased(c, normed(row + 2 * E, B_norm).data(), group, parameters.B_bias, in.k);
    append_biased(c, normed(row + 2 * E + c.bc_width(), C_norm).data(), group, parameters.C_bias, in.q);
    const double dt = reference::softplus(as_double(steer[head]) + as_double(w.dt_bias[head]));
    const double A =
        std::min(-reference::activation_A(as_double(steer[H + head]), c.A_activation), -c.A_floor);
    in.adt.push_back(A * dt), in.dt.push_back(dt), in.trap.push_back(steer[2 * H + head]);
    for (std::int64_t s = 0; s < S; ++s) in.angle.push_back(steer[3 * H + s]);
  }
  return in;
}

/// Steps 4 to 9 of the specification for one head: gated [tokens, P]. `state` moves on.
inline std::vector<double> run_head(const Mamba3Config& c, const HeadParameters& parameters,
                                    const HeadInput& in, HeadState& state) {
  const Mamba3Config one = one_head(c);
  return reference::gate(reference::scan(in, parameters, one, state), in.z, parameters, one, in.tokens);
}

/// |found - expected| / |expected|, added up piece by piece; NaN when anything found is.
class RelativeError {
 public:
  void add(double found, double expected) {
    error_ += (found - expected) * (found - expected);
    size_ += expected * expected;
  }
  double value() const { return size_ > 0 ? std::sqrt(error_ / size_) : std::sqrt(error_); }

 private:
  double error_ = 0, size_ = 0;
};

}  // namespace mamba3::test
