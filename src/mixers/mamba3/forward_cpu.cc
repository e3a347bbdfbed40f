// The layer on the CPU: projections through ops, and the scan head by head.
#include <algorithm>
#include <cmath>

#include "core/threads.h"
#include "mixers/mamba3/kernels_cpu.h"
#include "mixers/mamba3/layout.h"
#include "mixers/mamba3/mamba3.h"
#include "ops/norm/norm.h"

namespace mamba3::cpu {
namespace {

// Per token and head, made from the rows of `dynamics`.
struct Dynamics {
  float *adt, *dt, *trap, *angle;

  Dynamics(Arena& arena, const Mamba3Config& c, std::int64_t rows)
      : adt(arena.take<float>(rows * c.n_heads())),
        dt(arena.take<float>(rows * c.n_heads())),
        trap(arena.take<float>(rows * c.n_heads())),
        angle(arena.take<float>(rows * c.n_angles())) {}
};

// Steps 1 and 2 for rows [begin, end) of dd_dt, dd_A, trap, angle.
void unpack_dynamics(const Mamba3Config& c, const float* dt_bias, const float* projected, std::int64_t begin,
                     std::int64_t end, const Dynamics& out) {
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

// B and C of one row, normed in place (step 3).
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

// Scratch memory for every thread, taken before they part.
class HeadScratch {
 public:
  HeadScratch(Arena& arena, const Mamba3Layout& layout)
      : size_(head_scratch(layout)), memory_(arena.take<float>(size_ * threads())) {}
  float* mine() const { return memory_ + size_ * thread_index(); }

 private:
  std::int64_t size_;
  float* memory_;
};

// Rows of a window whose transposed B and C are in use at a time: they stay in the second-level cache while
// all heads read them.
constexpr std::int64_t kTransposedFloats = 128 << 10;

}  // namespace

void mamba3_scan(Arena& arena, const Mamba3Config& c, const Mamba3Weights& w, const RowWindow& window,
                 const Mamba3ScanInput& in, float* out, float* y, LayerState& state) {
  const Arena::Scope scope(arena);
  const Mamba3Layout l(c, mamba3_chunk(c));
  const auto H = c.n_heads(), P = c.headdim, N = c.d_state, R = c.rank(), G = c.ngroups, S = c.n_angles();
  const auto wide_s = padded(S);
  const auto first = window.begin, tokens = window.tokens();

  const auto chunk_stride = G * N * padded(l.chunk * R);
  const auto chunks = std::max<std::int64_t>(1, kTransposedFloats / (2 * chunk_stride));

  auto* lambda = arena.take<float>(window.rows * H);
  auto* rate = arena.take<float>(window.rows * wide_s);
  auto* B = arena.take<float>(chunks * chunk_stride);
  auto* C = arena.take<float>(chunks * chunk_stride);
  const HeadScratch scratch(arena, l);
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
}

void mamba3_forward(Arena& arena, const Mamba3Config& c, const Mamba3Weights& w, const RowWindow& window,
                    const float* u, float* out, LayerState& state) {
  const Arena::Scope scope(arena);
  auto* projected = arena.take<float>(window.rows * c.in_rows());
  auto* dynamics_rows = arena.take<float>(window.rows * c.dynamics_rows());
  auto* gated = arena.take<float>(window.rows * c.d_inner());
  const Dynamics dynamics(arena, c, window.rows);

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

void mamba3_flush(const Mamba3Config& c, const Mamba3Weights& w, LayerState& state) {
  if (state.tail == 0) return;
  const Mamba3Layout l(c, mamba3_chunk(c));
  AlignedFloats scratch(static_cast<std::size_t>(head_scratch(l)));
  for (std::int64_t head = 0; head < l.heads; ++head) {
    flush_tail(l, weights_of(c, w, head).mimo_x, state.tail, Mamba3Head(l, state.values.data(), head),
               scratch.data());
  }
  state.tail = 0;
}

void mamba3_step(Arena& arena, const Mamba3Config& c, const Mamba3Weights& w, const float* u, float* out,
                 std::span<LayerState* const> states) {
  const Arena::Scope scope(arena);
  const Mamba3Layout l(c, mamba3_chunk(c));
  const auto batch = static_cast<std::int64_t>(states.size());
  const auto H = c.n_heads(), P = c.headdim, E = c.d_inner(), S = c.n_angles();
  const auto wide_s = padded(S);
  auto* projected = arena.take<float>(batch * c.in_rows());
  auto* dynamics_rows = arena.take<float>(batch * c.dynamics_rows());
  auto* gated = arena.take<float>(batch * E);
  auto* lambda = arena.take<float>(batch * H);
  auto* rate = arena.take<float>(batch * wide_s);
  const Dynamics dynamics(arena, c, batch);
  const HeadScratch scratch(arena, l);

  cpu::linear_step(w.in_proj, u, batch, projected);
  cpu::linear_step(w.dynamics, u, batch, dynamics_rows);
  unpack_dynamics(c, w.dt_bias, dynamics_rows, 0, batch, dynamics);
  cpu::sigmoid(dynamics.trap, batch * H, lambda);
  for (std::int64_t b = 0; b < batch; ++b) {
    cpu::mamba3_flush(c, w, *states[b]);
    norm_row(c, w, projected + b * c.in_rows());
    angle_rate(dynamics.angle + b * S, S, rate + b * wide_s);
    std::fill(rate + b * wide_s + S, rate + (b + 1) * wide_s, 0.0f);
  }
  parallel_ranges(batch * H, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t b = i / H, head = i % H;
      const float* row = projected + b * c.in_rows();
      const float* B = row + 2 * E + head / (H / c.ngroups) * c.d_state;
      const Mamba3Token token{.B = B,
                              .C = B + c.bc_width(),
                              .group_stride = c.ngroups * c.d_state,
                              .rate = rate + b * wide_s,
                              .adt = dynamics.adt[i],
                              .dt = dynamics.dt[i],
                              .lambda = lambda[i],
                              .x = row + E + head * P,
                              .z = row + head * P,
                              .out = gated + i * P};
      step_head(l, c.is_mimo, weights_of(c, w, head), token, Mamba3Head(l, states[b]->values.data(), head),
                scratch.mine());
    }
  });
  cpu::linear_step(w.out_proj, gated, batch, out);
}

}  // namespace mamba3::cpu
