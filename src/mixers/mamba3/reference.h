// The Mamba-3 mixer in plain loops, one token at a time, in float or double: the definition that every fast
// path is held against. Follows the specification's "The layer" step by step (arXiv 2603.15569;
// state-spaces/mamba e9594ce, modules/mamba3.py). Nothing here is fast, and nothing should be.
//
// Axes: T tokens, D d_model, H heads, P headdim, E = H P, N d_state, R rank, G groups, S angles. Row-major.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "mixers/mamba3/config.h"

namespace mamba3::reference {

template <typename T>
using Values = std::vector<T>;

/// Parameters as a checkpoint has them.
template <typename T>
struct Mamba3Params {
  Values<T> in_proj;   // [2E + 2RGN + 3H + S, D]
  Values<T> dt_bias;   // [H]
  Values<T> B_bias;    // [H, R, N]
  Values<T> C_bias;    // [H, R, N]
  Values<T> B_norm;    // [N]
  Values<T> C_norm;    // [N]
  Values<T> D;         // [H]
  Values<T> mimo_x;    // [H, R, P], empty for SISO
  Values<T> mimo_z;    // [H, R, P], empty for SISO
  Values<T> mimo_o;    // [H, R, P], empty for SISO
  Values<T> norm;      // [E], empty without is_outproj_norm
  Values<T> out_proj;  // [D, E]
};

/// What one sequence carries from token to token.
template <typename T>
struct Mamba3State {
  Values<T> theta;  // [H, S]     angles in [0, 2 pi)
  Values<T> h;      // [H, P, N]
  Values<T> k;      // [R, H, N]  last k: normed, biased, rotated, without gamma
  Values<T> x;      // [H, P]     last x, before mimo_x

  static Mamba3State zeros(const Mamba3Config& c) {
    const auto H = c.n_heads(), P = c.headdim, N = c.d_state;
    return {Values<T>(H * c.n_angles()), Values<T>(H * P * N), Values<T>(c.rank() * H * N), Values<T>(H * P)};
  }
};

/// What the scan takes for `tokens` tokens. q and k are normed and biased, not yet rotated.
template <typename T>
struct ScanInput {
  std::int64_t tokens = 0;
  Values<T> q, k;           // [T, R, H, N]
  Values<T> x, z;           // [T, H, P]
  Values<T> adt, dt, trap;  // [T, H]   A dt (negative), dt, logit of lambda
  Values<T> angle;          // [T, S]   before tanh, shared by the heads
};

template <typename T>
T sigmoid(T v) {
  return 1 / (1 + std::exp(-v));
}

template <typename T>
T silu(T v) {
  return v * sigmoid(v);
}

/// log(1 + e^v); the identity above 20, as PyTorch has it.
template <typename T>
T softplus(T v) {
  return v > 20 ? v : std::log1p(std::exp(v));
}

template <typename T>
T activation_A(T v, AActivation kind) {
  if (kind == AActivation::softplus) return softplus(v);
  return v >= 0 ? 1 + v : 1 / (1 - v);
}

template <typename T>
T wrap_angle(T theta) {
  constexpr T kTwoPi = 2 * std::numbers::pi_v<T>;
  const T wrapped = theta - kTwoPi * std::floor(theta / kTwoPi);
  return wrapped >= kTwoPi ? wrapped - kTwoPi : std::max(wrapped, T{0});
}

/// y [rows] = W [rows, cols] x
template <typename T>
void product(const T* W, const T* x, std::int64_t rows, std::int64_t cols, T* y) {
  for (std::int64_t i = 0; i < rows; ++i) {
    T sum = 0;
    for (std::int64_t j = 0; j < cols; ++j) sum += W[i * cols + j] * x[j];
    y[i] = sum;
  }
}

template <typename T>
void rms_norm(const T* v, const T* weight, std::int64_t n, T* out) {
  T squares = 0;
  for (std::int64_t i = 0; i < n; ++i) squares += v[i] * v[i];
  const T scale = 1 / std::sqrt(squares / static_cast<T>(n) + static_cast<T>(kNormEpsilon));
  for (std::int64_t i = 0; i < n; ++i) out[i] = v[i] * scale * weight[i];
}

/// Rotates the first S pairs of v [N] by theta [S]: SISO pairs (2s, 2s+1), MIMO pairs (s, s + N/2). Step 5.
template <typename T>
void rotate(T* v, const T* theta, const Mamba3Config& c) {
  for (std::int64_t s = 0; s < c.n_angles(); ++s) {
    T& a = v[c.is_mimo ? s : 2 * s];
    T& b = v[c.is_mimo ? s + c.d_state / 2 : 2 * s + 1];
    const T cosine = std::cos(theta[s]), sine = std::sin(theta[s]);
    const T a_rotated = a * cosine - b * sine;
    b = a * sine + b * cosine;
    a = a_rotated;
  }
}

/// Steps 1 to 3: u [T, D] to what the scan takes.
template <typename T>
ScanInput<T> prepare(const Mamba3Params<T>& params, const Mamba3Config& c, const T* u, std::int64_t tokens) {
  const auto H = c.n_heads(), E = c.d_inner(), N = c.d_state, R = c.rank(), G = c.ngroups, S = c.n_angles();
  const auto width = c.in_rows() + c.dynamics_rows();
  ScanInput<T> in;
  in.tokens = tokens;
  in.q.resize(tokens * R * H * N), in.k.resize(tokens * R * H * N);
  in.x.resize(tokens * E), in.z.resize(tokens * E), in.angle.resize(tokens * S);
  in.adt.resize(tokens * H), in.dt.resize(tokens * H), in.trap.resize(tokens * H);
  Values<T> projected(width), normed(N);
  for (std::int64_t t = 0; t < tokens; ++t) {
    product(params.in_proj.data(), u + t * c.d_model, width, c.d_model, projected.data());
    const T* z = projected.data();
    const T* x = z + E;
    const T* B = x + E;
    const T* C = B + R * G * N;
    const T* dd_dt = C + R * G * N;
    const T* dd_A = dd_dt + H;
    const T* trap = dd_A + H;
    const T* angle = trap + H;
    std::copy_n(z, E, &in.z[t * E]);
    std::copy_n(x, E, &in.x[t * E]);
    std::copy_n(angle, S, in.angle.begin() + t * S);
    for (std::int64_t h = 0; h < H; ++h) {
      const T A = std::min(-activation_A(dd_A[h], c.A_activation), -static_cast<T>(c.A_floor));
      const T dt = softplus(dd_dt[h] + params.dt_bias[h]);
      in.adt[t * H + h] = A * dt;
      in.dt[t * H + h] = dt;
      in.trap[t * H + h] = trap[h];
      const auto g = h / (H / G);
      for (std::int64_t r = 0; r < R; ++r) {
        const auto spread = [&](const T* group, const Values<T>& weight, const Values<T>& bias,
                                Values<T>& to) {
          rms_norm(group + (r * G + g) * N, weight.data(), N, normed.data());
          for (std::int64_t n = 0; n < N; ++n) {
            to[((t * R + r) * H + h) * N + n] = normed[n] + bias[(h * R + r) * N + n];
          }
        };
        spread(B, params.B_norm, params.B_bias, in.k);
        spread(C, params.C_norm, params.C_bias, in.q);
      }
    }
  }
  return in;
}

/// Steps 4 to 8, token by token: y [T, R, H, P] with the D term, before the gate. `state` moves on.
template <typename T>
Values<T> scan(const ScanInput<T>& in, const Mamba3Params<T>& params, const Mamba3Config& c,
               Mamba3State<T>& state) {
  const auto H = c.n_heads(), P = c.headdim, N = c.d_state, R = c.rank(), S = c.n_angles();
  const auto value = [&](const T* x, std::int64_t h, std::int64_t r, std::int64_t p) {
    return c.is_mimo ? x[h * P + p] * params.mimo_x[(h * R + r) * P + p] : x[h * P + p];
  };
  Values<T> y(in.tokens * R * H * P), q(R * N), k(R * N);
  for (std::int64_t t = 0; t < in.tokens; ++t) {
    const T* x = &in.x[t * H * P];
    for (std::int64_t h = 0; h < H; ++h) {
      const T dt = in.dt[t * H + h];
      const T lambda = sigmoid(in.trap[t * H + h]);
      const T alpha = std::exp(in.adt[t * H + h]);
      const T beta = (1 - lambda) * dt * alpha, gamma = lambda * dt;
      T* theta = state.theta.data() + h * S;
      for (std::int64_t s = 0; s < S; ++s) {
        theta[s] = wrap_angle(theta[s] + std::tanh(in.angle[t * S + s]) * std::numbers::pi_v<T> * dt);
      }
      for (std::int64_t r = 0; r < R; ++r) {
        std::copy_n(&in.q[((t * R + r) * H + h) * N], N, &q[r * N]);
        std::copy_n(&in.k[((t * R + r) * H + h) * N], N, &k[r * N]);
        rotate(&q[r * N], theta, c);
        rotate(&k[r * N], theta, c);
      }
      for (std::int64_t p = 0; p < P; ++p) {
        for (std::int64_t n = 0; n < N; ++n) {
          T sum = alpha * state.h[(h * P + p) * N + n];
          for (std::int64_t r = 0; r < R; ++r) {
            sum += beta * state.k[(r * H + h) * N + n] * value(state.x.data(), h, r, p);
            sum += gamma * k[r * N + n] * value(x, h, r, p);
          }
          state.h[(h * P + p) * N + n] = sum;
        }
        for (std::int64_t r = 0; r < R; ++r) {
          T sum = 0;
          for (std::int64_t n = 0; n < N; ++n) sum += state.h[(h * P + p) * N + n] * q[r * N + n];
          y[((t * R + r) * H + h) * P + p] = sum + params.D[h] * value(x, h, r, p);
        }
      }
      for (std::int64_t r = 0; r < R; ++r) std::copy_n(&k[r * N], N, &state.k[(r * H + h) * N]);
      std::copy_n(&x[h * P], P, &state.x[h * P]);
    }
  }
  return y;
}

/// Step 9 without out_proj: y [T, R, H, P] and z [T, H, P] to [T, H, P].
template <typename T>
Values<T> gate(const Values<T>& y, const Values<T>& z, const Mamba3Params<T>& params, const Mamba3Config& c,
               std::int64_t tokens) {
  const auto H = c.n_heads(), P = c.headdim, R = c.rank();
  Values<T> out(tokens * H * P), row(P);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t h = 0; h < H; ++h) {
      for (std::int64_t r = 0; r < R; ++r) {
        std::copy_n(&y[((t * R + r) * H + h) * P], P, row.begin());
        if (c.is_outproj_norm) rms_norm(row.data(), &params.norm[h * P], P, row.data());
        for (std::int64_t p = 0; p < P; ++p) {
          const T z_t = z[(t * H + h) * P + p];
          T& sum = out[(t * H + h) * P + p];
          if (c.is_mimo) {
            const auto at = (h * R + r) * P + p;
            sum += row[p] * silu(z_t * params.mimo_z[at]) * params.mimo_o[at];
          } else {
            sum = row[p] * silu(z_t);
          }
        }
      }
    }
  }
  return out;
}

/// The whole layer: u [T, D] to out [T, D]. One sequence; packed sequences are several calls.
template <typename T>
Values<T> mixer(const Mamba3Params<T>& params, const Mamba3Config& c, const T* u, std::int64_t tokens,
                Mamba3State<T>& state) {
  const ScanInput<T> in = prepare(params, c, u, tokens);
  const Values<T> gated = gate(scan(in, params, c, state), in.z, params, c, tokens);
  Values<T> out(tokens * c.d_model);
  for (std::int64_t t = 0; t < tokens; ++t) {
    product(params.out_proj.data(), &gated[t * c.d_inner()], c.d_model, c.d_inner(), &out[t * c.d_model]);
  }
  return out;
}

}  // namespace mamba3::reference
