// Single tokens on the CPU: the step of many sessions, and what a tail is good for besides.
#include <algorithm>
#include <array>
#include <utility>

#include "core/aligned.h"
#include "core/threads.h"
#include "mixers/mamba3/inputs_cpu.h"
#include "mixers/mamba3/kernels_cpu.h"
#include "mixers/mamba3/layout.h"
#include "mixers/mamba3/mamba3.h"

namespace mamba3::cpu {
namespace {

// Fewest sessions whose rows are worth another thread: norms, exponentials and tanh of one take about a
// microsecond, sharing about two.
constexpr std::int64_t kSessionsWorthSharing = 4;

// What the heads of all sessions take.
struct StepInput {
  const float* projected;  // [batch, 2E + 2RGN]  z, x, B, C
  const float* rate;       // [batch, S']
  const float* lambda;     // [batch, H]
  Mamba3Dynamics dynamics;
};

Mamba3Token token_of(const Mamba3Config& c, const Mamba3Layout& l, const StepInput& in, std::int64_t session,
                     std::int64_t head, float* gated) {
  const std::int64_t E = c.d_inner(), i = session * l.heads + head;
  const float* row = in.projected + session * c.in_rows();
  const float* B = row + 2 * E + head / (l.heads / c.ngroups) * l.d_state;
  return {.B = B,
          .C = B + c.bc_width(),
          .group_stride = c.ngroups * l.d_state,
          .rate = in.rate + session * l.wide_s,
          .adt = in.dynamics.adt[i],
          .dt = in.dynamics.dt[i],
          .lambda = in.lambda[i],
          .x = row + E + head * l.headdim,
          .z = row + head * l.headdim,
          .out = gated + i * l.headdim};
}

}  // namespace

void mamba3_step(const Exec& exec, const Mamba3Config& c, const Mamba3Weights& w, const float* u, float* out,
                 std::span<const Mamba3Place> places) {
  Arena& arena = *exec.arena;
  const Arena::Scope scope(arena);
  const Mamba3Layout l(c, mamba3_chunk(c));
  const auto batch = static_cast<std::int64_t>(places.size());
  const std::int64_t H = l.heads, S = l.angles, every = l.fold_every();
  auto* projected = arena.take<float>(batch * c.in_rows());
  auto* dynamics_rows = arena.take<float>(batch * c.dynamics_rows());
  auto* gated = arena.take<float>(batch * c.d_inner());
  auto* lambda = arena.take<float>(batch * H);
  auto* rate = arena.take<float>(batch * l.wide_s);
  const StepInput input{projected, rate, lambda, Mamba3Dynamics(arena, c, batch)};
  const HeadScratch scratch(arena, step_scratch(l));

  const std::array products = {Product{&w.in_proj, projected}, Product{&w.dynamics, dynamics_rows}};
  linear(exec, products, u, batch);
  const auto rows = [&](std::int64_t first, std::int64_t last) {
    const Mamba3Dynamics& made = input.dynamics;
    unpack_dynamics(c, w.dt_bias, dynamics_rows, first, last, made);
    cpu::sigmoid(made.trap + first * H, (last - first) * H, lambda + first * H);
    for (std::int64_t b = first; b < last; ++b) {
      norm_row(c, w, projected + b * c.in_rows());
      float* mine = rate + b * l.wide_s;
      angle_rate(made.angle + b * S, S, mine);
      std::fill(mine + S, mine + l.wide_s, 0.0f);
      const LayerState& state = *places[b].state;
      std::copy_n(mine, l.wide_s, places[b].state->values.data() + l.rate + state.tail * l.wide_s);
    }
  };
  parallel_ranges(batch, rows, kSessionsWorthSharing);
  const auto folds = [&](const Mamba3Place& place) { return (place.position + 1) % every == 0; };
  parallel_ranges(batch * H, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t b = i / H, head = i % H;
      LayerState& state = *places[b].state;
      step_head(l, c.is_mimo, weights_of(c, w, head), token_of(c, l, input, b, head, gated), state.tail,
                folds(places[b]), Mamba3Head(l, state.values.data(), head), scratch.mine());
    }
  });
  for (const Mamba3Place& place : places) place.state->tail = folds(place) ? 0 : place.state->tail + 1;
  linear(exec, w.out_proj, gated, batch, out);
}

void mamba3_fold(const Mamba3Config& c, const Mamba3Weights& w, LayerState& state) {
  if (state.tail == 0) return;
  const Mamba3Layout l(c, mamba3_chunk(c));
  AlignedFloats scratch(static_cast<std::size_t>(step_scratch(l)));
  for (std::int64_t head = 0; head < l.heads; ++head) {
    fold_tail(l, weights_of(c, w, head).mimo_x, state.tail, Mamba3Head(l, state.values.data(), head),
              scratch.data());
  }
  state.tail = 0;
}

void mamba3_rewind(const Mamba3Config& c, LayerState& state, std::int64_t tokens) {
  const Mamba3Layout l(c, mamba3_chunk(c));
  AlignedFloats scratch(static_cast<std::size_t>(step_scratch(l)));
  state.tail -= tokens;
  float* values = state.values.data();
  for (std::int64_t head = 0; head < l.heads; ++head) {
    turn_back(l, values + l.rate, state.tail, Mamba3Head(l, values, head), scratch.data());
  }
}

}  // namespace mamba3::cpu
