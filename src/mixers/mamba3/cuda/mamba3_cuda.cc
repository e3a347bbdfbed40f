// The layer's entries with everything in host memory, for tests and single calls: float32 products, the scan
// token by token, and the step.
#include "mixers/mamba3/mamba3.h"

#include <cmath>
#include <numbers>
#include <vector>

#include "core/cuda/staging.h"
#include "core/error.h"
#include "mixers/mamba3/cuda/inputs_cuda.h"
#include "mixers/mamba3/cuda/recurrent_cuda.h"
#include "mixers/mamba3/cuda/step_cuda.h"
#include "ops/linear/cuda/exact_cuda.h"
#include "ops/linear/cuda/upload_cuda.h"

namespace mamba3::cuda {
namespace {

// A layer on its way through one call.
class Call {
 public:
  Call(const Mamba3Config& config, const Mamba3Weights& weights)
      : c_(config), w_(weights), layout_(config, mamba3_chunk(config)) {
    if (!takes_shape(layout_) || !takes_recurrent(config)) {
      fail(ErrorCode::unsupported,
           "device cuda: headdim {}, d_state {}, mimo_rank {} are more than the kernels take (128, 256, 8)",
           config.headdim, config.d_state, config.rank());
    }
    const auto H = c_.n_heads(), N = c_.d_state, RN = c_.rank() * N, RP = c_.rank() * c_.headdim;
    small_ = {.dt_bias = staging.upload(w_.dt_bias, H),
              .B_bias = staging.upload(w_.B_bias, H * RN),
              .C_bias = staging.upload(w_.C_bias, H * RN),
              .B_norm = staging.upload(w_.B_norm, N),
              .C_norm = staging.upload(w_.C_norm, N),
              .D = staging.upload(w_.D, H),
              .mimo_x = staging.upload(w_.mimo_x, H * RP),
              .mimo_z = staging.upload(w_.mimo_z, H * RP),
              .mimo_o = staging.upload(w_.mimo_o, H * RP),
              .norm = staging.upload(w_.norm, c_.d_inner())};
  }

  Staging staging;

  // x [rows, W.cols] on the device times W: [rows, W.rows].
  float* product(const PackedMatrix& W, const float* x, std::int64_t rows) {
    auto* y = staging.take<float>(rows * W.rows);
    exact_linear(upload(staging, W), x, rows, y, false, stream());
    return y;
  }

  // Rows of in_proj and of dynamics, and a row of what out_proj takes for each.
  struct Projected {
    float *rows, *dynamics, *gated;
  };
  Projected project(const float* u, std::int64_t rows) {
    const float* input = staging.upload(u, rows * c_.d_model);
    return {product(w_.in_proj, input, rows), product(w_.dynamics, input, rows),
            staging.take<float>(rows * c_.d_inner())};
  }
  void finish(const Projected& made, std::int64_t rows, float* out) {
    staging.download(out, product(w_.out_proj, made.gated, rows), rows * c_.d_model);
  }

  RecurrentRows<float> scan_rows(const Projected& made, std::int64_t rows) {
    const Mamba3Dynamics to{per_head(rows), per_head(rows), per_head(rows),
                            staging.take<float>(rows * c_.n_angles())};
    mamba3_inputs(c_, small_, rows, made.rows, made.dynamics, to, stream());
    const float *x = made.rows + c_.d_inner(), *B = x + c_.d_inner();
    return {.z = made.rows,
            .x = x,
            .B = B,
            .C = B + c_.bc_width(),
            .adt = to.adt,
            .dt = to.dt,
            .trap = to.trap,
            .rate = to.rate,
            .zx_stride = c_.in_rows(),
            .bc_stride = c_.in_rows(),
            .out = made.gated};
  }

  // One session's tokens; its tail is folded first.
  void scan(const RecurrentRows<float>& rows, std::int64_t tokens, LayerState& state) {
    const Mamba3Place place{&state, 0};
    const Sessions sessions(*this, {&place, 1});
    fold_tails(layout_, small_.mimo_x, sessions.device, 0, stream());
    const std::int32_t cu_seqlens[] = {0, static_cast<std::int32_t>(tokens)};
    mamba3_recurrent(c_, layout_, small_, rows, {1, staging.upload(cu_seqlens, 2), sessions.device.states, 0},
                     stream());
    sessions.download();
    state.tail = 0;
  }

  void step(const Projected& made, std::span<const Mamba3Place> places) {
    const Sessions sessions(*this, places);
    step_heads(c_, layout_, small_, sessions.device, 0, static_cast<const float*>(made.rows), made.dynamics,
               made.gated, false, stream());
    sessions.download();
    for (const auto& [state, position] : places) {
      state->tail = (position + 1) % layout_.fold_every() == 0 ? 0 : state->tail + 1;
    }
  }

 private:
  // States and their places on the device, and back.
  struct Sessions {
    Staging& staging;
    std::span<const Mamba3Place> places;
    std::vector<float*> states;
    Mamba3Sessions device;

    Sessions(Call& call, std::span<const Mamba3Place> all) : staging(call.staging), places(all) {
      std::vector<std::int64_t> positions;
      std::vector<std::int32_t> tails;
      for (const auto& [state, position] : places) {
        states.push_back(staging.upload(state->values.data(), std::ssize(state->values)));
        positions.push_back(position);
        tails.push_back(static_cast<std::int32_t>(state->tail));
      }
      const auto count = std::ssize(states);
      device = {staging.upload(states.data(), count), staging.upload(positions.data(), count),
                staging.upload(tails.data(), count), count};
    }
    void download() const {
      for (std::size_t i = 0; i < places.size(); ++i) {
        AlignedFloats& values = places[i].state->values;
        staging.download(values.data(), states[i], std::ssize(values));
      }
    }
  };

  static cudaStream_t stream() { return Staging::stream(); }
  float* per_head(std::int64_t rows) { return staging.take<float>(rows * c_.n_heads()); }

  const Mamba3Config& c_;
  const Mamba3Weights& w_;
  Mamba3Layout layout_;
  Mamba3Parameters small_;
};

}  // namespace

void mamba3_forward(const Exec&, const Mamba3Config& c, const Mamba3Weights& w, const RowWindow& window,
                    const float* u, float* out, LayerState& state) {
  Call call(c, w);
  const std::int64_t tokens = window.tokens(), first = window.begin * c.d_model;
  const auto made = call.project(u + first, tokens);
  call.scan(call.scan_rows(made, tokens), tokens, state);
  call.finish(made, tokens, out + first);
}

void mamba3_step(const Exec&, const Mamba3Config& c, const Mamba3Weights& w, const float* u, float* out,
                 std::span<const Mamba3Place> places) {
  Call call(c, w);
  const auto made = call.project(u, std::ssize(places));
  call.step(made, places);
  call.finish(made, std::ssize(places), out);
}

void mamba3_rewind(const Mamba3Config& c, LayerState& state, std::int64_t tokens) {
  Staging staging;
  state.tail -= tokens;
  const auto size = std::ssize(state.values);
  float* values = staging.upload(state.values.data(), size);
  const auto tail = static_cast<std::int32_t>(state.tail);
  const Mamba3Sessions sessions{staging.upload(&values, 1), nullptr, staging.upload(&tail, 1), 1};
  turn_back(Mamba3Layout(c, mamba3_chunk(c)), sessions, 0, Staging::stream());
  staging.download(state.values.data(), values, size);
}

void mamba3_scan(Arena&, const Mamba3Config& c, const Mamba3Weights& w, const RowWindow& window,
                 const Mamba3ScanInput& in, float* out, float* y, LayerState& state) {
  Call call(c, w);
  Staging& staging = call.staging;
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
  call.scan(run, tokens, state);
  staging.download(out + window.begin * E, run.out, tokens * E);
  if (y != nullptr) staging.download(y + window.begin * c.rank() * E, run.y, tokens * c.rank() * E);
}

}  // namespace mamba3::cuda
