// The layer over a sequence on the CPU: projections through ops, and the scan head by head.
#include <algorithm>

#include "core/threads.h"
#include "mixers/mamba3/inputs_cpu.h"
#include "mixers/mamba3/kernels_cpu.h"
#include "mixers/mamba3/layout.h"
#include "mixers/mamba3/mamba3.h"

namespace mamba3::cpu {
namespace {

// [rows, width] to one [width, C'] tile a chunk, for rows [begin, end): what all heads of a group share.
void transpose_chunks(const Mamba3Layout& l, const float* from, std::int64_t stride, std::int64_t width,
                      const RowWindow& window, float* to) {
  parallel_ranges(window.tokens(), [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = window.begin + first; row < window.begin + last; ++row) {
      float* column = to + row / l.chunk * width * l.wide_c + row % l.chunk;
      for (std::int64_t i = 0; i < width; ++i) column[i * l.wide_c] = from[row * stride + i];
    }
  });
}

// The rates of the window's tokens that ended up in the tail.
void keep_rates(const Mamba3Layout& l, const float* rate, const RowWindow& window, LayerState& state) {
  const std::int64_t count = std::min(state.tail, window.tokens());
  std::copy_n(rate + (window.end - count) * l.wide_s, count * l.wide_s,
              state.values.data() + l.rate + (state.tail - count) * l.wide_s);
}

}  // namespace

void mamba3_scan(Arena& arena, const Mamba3Config& c, const Mamba3Weights& w, const RowWindow& window,
                 const Mamba3ScanInput& in, float* out, float* y, LayerState& state) {
  const Arena::Scope scope(arena);
  const Mamba3Layout l(c, mamba3_chunk(c));
  const auto H = c.n_heads(), P = c.headdim, N = c.d_state, R = c.rank(), G = c.ngroups, S = c.n_angles();
  const auto wide_s = l.wide_s;
  const auto first = window.begin, tokens = window.tokens();

  auto* lambda = arena.take<float>(window.rows * H);
  auto* rate = arena.take<float>(window.rows * wide_s);
  auto* B = arena.take<float>(window.rows / l.chunk * c.bc_width() * l.wide_c);
  auto* C = arena.take<float>(window.rows / l.chunk * c.bc_width() * l.wide_c);
  const HeadScratch scratch(arena, head_scratch(l));
  cpu::sigmoid(in.trap + first * H, tokens * H, lambda + first * H);
  for (std::int64_t t = first; t < window.end; ++t) {
    angle_rate(in.angle + t * S, S, rate + t * wide_s);
    std::fill(rate + t * wide_s + S, rate + (t + 1) * wide_s, 0.0f);
  }
  transpose_chunks(l, in.B, in.bc_stride, c.bc_width(), window, B);
  transpose_chunks(l, in.C, in.bc_stride, c.bc_width(), window, C);

  // The tail began at this row of its chunk: 0, unless a single step moved the checkpoint inside it.
  const std::int64_t tail_start = (first - state.tail) & (l.chunk - 1);
  parallel_each(H, [&](std::int64_t head) {
    const Mamba3HeadWeights head_weights = weights_of(c, w, head);
    const Mamba3Head head_state(l, state.values.data(), head);
    std::int64_t tail = state.tail, start = tail_start;
    for (std::int64_t row = first; row < window.end;) {
      const std::int64_t count = std::min(window.end - row, l.chunk - row % l.chunk);
      const std::int64_t tile = (row / l.chunk * c.bc_width() + head / (H / G) * N) * l.wide_c + start;
      const Mamba3Stretch stretch{.count = count,
                                  .completes = (row + count) % l.chunk == 0,
                                  .B = B + tile,
                                  .C = C + tile,
                                  .group_stride = G * N * l.wide_c,
                                  .rate = rate + row * wide_s,
                                  .adt = in.adt + row * H + head,
                                  .dt = in.dt + row * H + head,
                                  .lambda = lambda + row * H + head,
                                  .head_stride = H,
                                  .x = in.x + row * in.zx_stride + head * P,
                                  .z = in.z + row * in.zx_stride + head * P,
                                  .zx_stride = in.zx_stride,
                                  .out = out + (row * H + head) * P,
                                  .out_stride = H * P,
                                  .y = y == nullptr ? nullptr : y + (row * R * H + head) * P,
                                  .y_token = R * H * P,
                                  .y_rank = H * P};
      run_stretch(l, c.is_mimo, head_weights, stretch, tail, head_state, scratch.mine());
      tail = stretch.completes ? 0 : tail + count;
      start = stretch.completes ? 0 : start;
      row += count;
    }
  });
  const bool same_chunk = window.end % l.chunk != 0 && window.end / l.chunk == first / l.chunk;
  state.tail = same_chunk ? state.tail + tokens : window.end % l.chunk;
  keep_rates(l, rate, window, state);
}

void mamba3_forward(Arena& arena, const Mamba3Config& c, const Mamba3Weights& w, const RowWindow& window,
                    const float* u, float* out, LayerState& state) {
  const Arena::Scope scope(arena);
  auto* projected = arena.take<float>(window.rows * c.in_rows());
  auto* dynamics_rows = arena.take<float>(window.rows * c.dynamics_rows());
  auto* gated = arena.take<float>(window.rows * c.d_inner());
  const Mamba3Dynamics dynamics(arena, c, window.rows);

  cpu::linear(w.in_proj, u, window.rows, projected);
  cpu::linear(w.dynamics, u, window.rows, dynamics_rows);
  parallel_ranges(window.tokens(), [&](std::int64_t first, std::int64_t last) {
    first += window.begin, last += window.begin;
    unpack_dynamics(c, w.dt_bias, dynamics_rows, first, last, dynamics);
    for (std::int64_t t = first; t < last; ++t) norm_row(c, w, projected + t * c.in_rows());
  });
  const float* B = projected + 2 * c.d_inner();
  const Mamba3ScanInput input{.z = projected,
                              .x = projected + c.d_inner(),
                              .B = B,
                              .C = B + c.bc_width(),
                              .adt = dynamics.adt,
                              .dt = dynamics.dt,
                              .trap = dynamics.trap,
                              .angle = dynamics.angle,
                              .zx_stride = c.in_rows(),
                              .bc_stride = c.in_rows()};
  cpu::mamba3_scan(arena, c, w, window, input, gated, nullptr, state);
  cpu::linear(w.out_proj, gated, window.rows, out);
}

}  // namespace mamba3::cpu
