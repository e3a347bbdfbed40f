// The layer over a sequence on the CPU: projections through ops, and the scan head by head.
#include <algorithm>
#include <array>

#include "core/threads.h"
#include "mixers/mamba3/inputs_cpu.h"
#include "mixers/mamba3/kernels_cpu.h"
#include "mixers/mamba3/layout.h"
#include "mixers/mamba3/mamba3.h"

namespace mamba3::cpu {
namespace {

// Rows of a window whose transposed B and C are in use at a time: they stay in the second-level cache while
// all heads read them.
constexpr std::int64_t kTransposedFloats = 128 << 10;

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

  const auto chunk_stride = G * N * padded(l.chunk * R);
  const auto chunks = std::max<std::int64_t>(1, kTransposedFloats / (2 * chunk_stride));

  auto* lambda = arena.take<float>(window.rows * H);
  auto* rate = arena.take<float>(window.rows * wide_s);
  auto* B = arena.take<float>(chunks * chunk_stride);
  auto* C = arena.take<float>(chunks * chunk_stride);
  const HeadScratch scratch(arena, head_scratch(l));
  parallel_ranges(tokens, [&](std::int64_t from, std::int64_t to) {
    from += first, to += first;
    cpu::sigmoid(in.trap + from * H, (to - from) * H, lambda + from * H);
    for (std::int64_t t = from; t < to; ++t) {
      angle_rate(in.angle + t * S, S, rate + t * wide_s);
      std::fill(rate + t * wide_s + S, rate + (t + 1) * wide_s, 0.0f);
    }
  });

  // The tail began at this row of its chunk: 0, unless single steps moved the checkpoint inside it.
  std::int64_t tail = state.tail, start = (first - tail) & (l.chunk - 1);
  for (std::int64_t row = first; row < window.end;) {
    const std::int64_t base = row / l.chunk * l.chunk;
    const std::int64_t end = std::min(window.end, base + chunks * l.chunk);
    parallel_ranges((end - base + l.chunk - 1) / l.chunk, [&](std::int64_t from, std::int64_t to) {
      for (std::int64_t i = from; i < to; ++i) {
        const std::int64_t at = (base + i * l.chunk) * in.bc_stride;
        transpose_chunk(l, G, in.B + at, in.bc_stride, B + i * chunk_stride);
        transpose_chunk(l, G, in.C + at, in.bc_stride, C + i * chunk_stride);
      }
    });
    parallel_each(H, [&](std::int64_t head) {
      const std::int64_t group = head / (H / G) * (chunk_stride / G);
      const Mamba3Stretch stretch{.count = end - row,
                                  .slot = row - base,
                                  .start = start,
                                  .B = B + group,
                                  .C = C + group,
                                  .chunk_stride = chunk_stride,
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
      run_tokens(l, c.is_mimo, weights_of(c, w, head), stretch, tail,
                 Mamba3Head(l, state.values.data(), head), scratch.mine());
    });
    tail = start = 0;
    row = end;
  }
  const bool same_chunk = window.end % l.chunk != 0 && window.end / l.chunk == first / l.chunk;
  state.tail = same_chunk ? state.tail + tokens : window.end % l.chunk;
  keep_rates(l, rate, window, state);
}

void mamba3_forward(const Exec& exec, const Mamba3Config& c, const Mamba3Weights& w, const RowWindow& window,
                    const float* u, float* out, LayerState& state) {
  Arena& arena = *exec.arena;
  const Arena::Scope scope(arena);
  auto* projected = arena.take<float>(window.rows * c.in_rows());
  auto* dynamics_rows = arena.take<float>(window.rows * c.dynamics_rows());
  auto* gated = arena.take<float>(window.rows * c.d_inner());
  const Mamba3Dynamics dynamics(arena, c, window.rows);

  const std::int64_t begin = window.begin;
  const std::array products = {Product{&w.in_proj, projected + begin * c.in_rows()},
                               Product{&w.dynamics, dynamics_rows + begin * c.dynamics_rows()}};
  linear(exec, products, u + begin * c.d_model, window.tokens());
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
  linear(exec, w.out_proj, gated + begin * c.d_inner(), window.tokens(), out + begin * c.d_model);
}

}  // namespace mamba3::cpu
