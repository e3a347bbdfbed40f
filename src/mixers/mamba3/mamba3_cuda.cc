// The layer's entries with everything in host memory: tests and single calls.
#include "mixers/mamba3/mamba3.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "core/cuda/staging.h"
#include "core/error.h"
#include "mixers/mamba3/inputs_cuda.h"
#include "mixers/mamba3/recurrent_cuda.h"
#include "ops/linear/exact_cuda.h"
#include "ops/linear/upload_cuda.h"

namespace mamba3::cuda {
namespace {

RecurrentWeights upload_weights(Staging& staging, const Mamba3Config& c, const Mamba3Weights& w) {
  const auto H = c.n_heads(), RN = c.rank() * c.d_state, RP = c.rank() * c.headdim;
  return {.B_bias = staging.upload(w.B_bias, H * RN),
          .C_bias = staging.upload(w.C_bias, H * RN),
          .D = staging.upload(w.D, H),
          .mimo_x = staging.upload(w.mimo_x, H * RP),
          .mimo_z = staging.upload(w.mimo_z, H * RP),
          .mimo_o = staging.upload(w.mimo_o, H * RP),
          .norm = staging.upload(w.norm, c.d_inner())};
}

// States of sessions, whose tails are folded first, on the device and back.
class States {
 public:
  States(Staging& staging, const Mamba3Config& c, const Mamba3Weights& w,
         const std::vector<LayerState*>& states)
      : staging_(staging), states_(states) {
    for (LayerState* state : states) {
      cpu::mamba3_fold(c, w, *state);
      device_.push_back(staging.upload(state->values.data(), std::ssize(state->values)));
    }
    pointers_ = staging.upload(device_.data(), std::ssize(device_));
  }
  float* const* pointers() const { return pointers_; }
  void download() const {
    for (std::size_t i = 0; i < states_.size(); ++i) {
      staging_.download(states_[i]->values.data(), device_[i], std::ssize(states_[i]->values));
    }
  }

 private:
  Staging& staging_;
  const std::vector<LayerState*>& states_;
  std::vector<float*> device_;
  float* const* pointers_;
};

// Packed rows, and the sessions whose tokens they are.
struct Sessions {
  std::vector<LayerState*> states;
  std::vector<std::int32_t> cu_seqlens;
  std::int64_t rows() const { return cu_seqlens.back(); }
};

void run_scan(Staging& staging, const Mamba3Config& c, const Mamba3Weights& w, const Sessions& sessions,
              const RecurrentRows<float>& rows) {
  if (!takes_recurrent(c)) {
    fail(ErrorCode::unsupported,
         "device cuda: headdim {}, d_state {}, rank {} are more than the kernels take (128, 256, 8)",
         c.headdim, c.d_state, c.rank());
  }
  const States states(staging, c, w, sessions.states);
  const RecurrentSequences sequences{
      std::ssize(sessions.states),
      staging.upload(sessions.cu_seqlens.data(), std::ssize(sessions.cu_seqlens)), states.pointers(), 0};
  mamba3_recurrent(c, Mamba3Layout(c, mamba3_chunk(c)), upload_weights(staging, c, w), rows, sequences,
                   Staging::stream());
  states.download();
}

// u, out [rows, D] in host memory.
void run_layer(const Mamba3Config& c, const Mamba3Weights& w, const Sessions& sessions, const float* u,
               float* out) {
  Staging staging;
  const cudaStream_t stream = Staging::stream();
  const std::int64_t rows = sessions.rows(), H = c.n_heads();
  const float* input = staging.upload(u, rows * c.d_model);
  auto* projected = staging.take<float>(rows * c.in_rows());
  auto* dynamics_rows = staging.take<float>(rows * c.dynamics_rows());
  exact_linear(upload(staging, w.in_proj), input, rows, projected, false, stream);
  exact_linear(upload(staging, w.dynamics), input, rows, dynamics_rows, false, stream);
  const Mamba3Dynamics dynamics{staging.take<float>(rows * H), staging.take<float>(rows * H),
                                staging.take<float>(rows * H), staging.take<float>(rows * c.n_angles())};
  const Mamba3InputWeights weights{staging.upload(w.dt_bias, H), staging.upload(w.B_norm, c.d_state),
                                   staging.upload(w.C_norm, c.d_state)};
  mamba3_inputs(c, weights, rows, projected, dynamics_rows, dynamics, stream);
  auto* gated = staging.take<float>(rows * c.d_inner());
  const float* B = projected + 2 * c.d_inner();
  run_scan(staging, c, w, sessions,
           {.z = projected,
            .x = projected + c.d_inner(),
            .B = B,
            .C = B + c.bc_width(),
            .adt = dynamics.adt,
            .dt = dynamics.dt,
            .trap = dynamics.trap,
            .rate = dynamics.rate,
            .zx_stride = c.in_rows(),
            .bc_stride = c.in_rows(),
            .out = gated});
  auto* result = staging.take<float>(rows * c.d_model);
  exact_linear(upload(staging, w.out_proj), gated, rows, result, false, stream);
  staging.download(out, result, rows * c.d_model);
}

Sessions one_session(LayerState& state, std::int64_t tokens) {
  return {{&state}, {0, static_cast<std::int32_t>(tokens)}};
}

}  // namespace

void mamba3_forward(const Exec&, const Mamba3Config& c, const Mamba3Weights& w, const RowWindow& window,
                    const float* u, float* out, LayerState& state) {
  const std::int64_t first = window.begin * c.d_model;
  run_layer(c, w, one_session(state, window.tokens()), u + first, out + first);
}

void mamba3_step(const Exec&, const Mamba3Config& c, const Mamba3Weights& w, const float* u, float* out,
                 std::span<const Mamba3Place> places) {
  Sessions sessions{{}, {0}};
  for (const Mamba3Place& place : places) {
    sessions.states.push_back(place.state);
    sessions.cu_seqlens.push_back(sessions.cu_seqlens.back() + 1);
  }
  run_layer(c, w, sessions, u, out);
}

void mamba3_rewind(const Mamba3Config& c, LayerState& state, std::int64_t tokens) {
  cpu::mamba3_rewind(c, state, tokens);
}

void mamba3_scan(Arena&, const Mamba3Config& c, const Mamba3Weights& w, const RowWindow& window,
                 const Mamba3ScanInput& in, float* out, float* y, LayerState& state) {
  Staging staging;
  const std::int64_t tokens = window.tokens(), H = c.n_heads(), S = c.n_angles(), E = c.d_inner();
  // The window's tokens of rows that are `stride` floats apart.
  const auto rows = [&](const float* from, std::int64_t stride, std::int64_t width) {
    return staging.upload(from + window.begin * stride, (tokens - 1) * stride + width);
  };
  std::vector<float> rate(in.angle + window.begin * S, in.angle + window.end * S);
  for (float& v : rate) v = std::tanh(v) * std::numbers::pi_v<float>;
  const RecurrentRows<float> run{.z = rows(in.z, in.zx_stride, E),
                                 .x = rows(in.x, in.zx_stride, E),
                                 .B = rows(in.B, in.bc_stride, c.bc_width()),
                                 .C = rows(in.C, in.bc_stride, c.bc_width()),
                                 .adt = rows(in.adt, H, H),
                                 .dt = rows(in.dt, H, H),
                                 .trap = rows(in.trap, H, H),
                                 .rate = staging.upload(rate.data(), tokens * S),
                                 .zx_stride = in.zx_stride,
                                 .bc_stride = in.bc_stride,
                                 .out = staging.take<float>(tokens * E),
                                 .y = staging.take<float>(tokens * c.rank() * E)};
  run_scan(staging, c, w, one_session(state, tokens), run);
  staging.download(out + window.begin * E, run.out, tokens * E);
  if (y != nullptr) staging.download(y + window.begin * c.rank() * E, run.y, tokens * c.rank() * E);
}

}  // namespace mamba3::cuda
