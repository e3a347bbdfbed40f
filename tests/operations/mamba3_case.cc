#include "mamba3_case.h"

namespace mamba3::test {
namespace {

const float* pointer(const Floats& values) {
  return values.empty() ? nullptr : values.data();
}

void append(Floats& to, const Floats& values) {
  to.insert(to.end(), values.begin(), values.end());
}

}  // namespace

Mamba3Case::Mamba3Case(const Mamba3Shape& shape, DType type, Device device, std::uint64_t seed)
    : shape_(shape), device_(device) {
  const Mamba3Config& c = shape_.config;
  const auto D = c.d_model, H = c.n_heads(), P = c.headdim, N = c.d_state, R = c.rank(), E = c.d_inner();
  Draw draw(seed);
  const double unit = 1 / std::sqrt(static_cast<double>(D));
  in_proj_ = std::make_unique<Stored>(type, c.in_rows(), D, draw(c.in_rows() * D, unit));
  // The rows that steer the dynamics stay in float32 when the others are quantized, as in our own files.
  dynamics_ = std::make_unique<Stored>(type == DType::q8_0 ? DType::f32 : type, c.dynamics_rows(), D,
                                       draw(c.dynamics_rows() * D, unit));
  out_proj_ = std::make_unique<Stored>(type, D, E, draw(D * E, 1 / std::sqrt(static_cast<double>(E))));
  dt_bias_ = draw(H, 0.5, -2);
  B_bias_ = draw(H * R * N, 0.3, 1), C_bias_ = draw(H * R * N, 0.3, 1);
  B_norm_ = draw(N, 0.2, 1), C_norm_ = draw(N, 0.2, 1);
  D_ = draw(H);
  if (c.is_mimo) mimo_x_ = draw(H * R * P), mimo_z_ = draw(H * R * P), mimo_o_ = draw(H * R * P);
  if (c.is_outproj_norm) norm_ = draw(E, 0.2, 1);
  u_ = draw(shape.tokens * D);
  start_ = reference::Mamba3State<float>::zeros(c);
  if (shape.resumed) {
    start_.theta = draw(H * c.n_angles(), 1.5, std::numbers::pi);
    for (float& angle : start_.theta) angle = reference::wrap_angle(angle);
    start_.h = draw(H * P * N, 0.3), start_.k = draw(R * H * N), start_.x = draw(E);
  }
  view_ = {in_proj_->exact(), dynamics_->exact(), out_proj_->exact(), pointer(dt_bias_), pointer(B_bias_),
           pointer(C_bias_),  pointer(B_norm_),   pointer(C_norm_),   pointer(D_),       pointer(mimo_x_),
           pointer(mimo_z_),  pointer(mimo_o_),   pointer(norm_)};
}

reference::Mamba3Params<double> Mamba3Case::params() const {
  reference::Mamba3Params<double> p{in_proj_->values(), doubles(dt_bias_), doubles(B_bias_),
                                    doubles(C_bias_),   doubles(B_norm_),  doubles(C_norm_),
                                    doubles(D_),        doubles(mimo_x_),  doubles(mimo_z_),
                                    doubles(mimo_o_),   doubles(norm_),    out_proj_->values()};
  const Doubles dynamics = dynamics_->values();
  p.in_proj.insert(p.in_proj.end(), dynamics.begin(), dynamics.end());
  return p;
}

reference::Mamba3State<double> Mamba3Case::start64() const {
  return {doubles(start_.theta), doubles(start_.h), doubles(start_.k), doubles(start_.x)};
}

LayerState Mamba3Case::start() const {
  return mamba3_import_state(config(), start_);
}

Floats Mamba3Case::run(LayerState& state, std::int64_t first, std::int64_t done, const Calls& calls) const {
  const auto D = config().d_model;
  Arena arena;
  const Exec exec{device_, &arena};
  Floats out;
  for (const auto& [tokens, by_steps] : calls) {
    if (by_steps) {
      Floats found = unwritten(tokens * D);
      for (std::int64_t t = 0; t < tokens; ++t) {
        const Mamba3Place place{&state, first + done + t};
        mamba3_step(exec, config(), view_, &u_[(done + t) * D], &found[t * D], {&place, 1});
      }
      append(out, found);
    } else {
      const auto window = RowWindow::of(first + done, tokens);
      const Floats u = in_rows(rows_of(u_, D, done, tokens), D, window.rows, window.begin);
      Floats found = unwritten(window.rows * D);
      mamba3_forward(exec, config(), view_, window, u.data(), found.data(), state);
      append(out, rows_of(found, D, window.begin, tokens));
    }
    done += tokens;
  }
  return out;
}

void Mamba3Case::rewind(LayerState& state, std::int64_t tokens) const {
  Arena arena;
  mamba3_rewind({device_, &arena}, config(), state, tokens);
}

Floats Mamba3Case::state_values(const LayerState& state) const {
  const auto parts = exported(state);
  Floats all = parts.theta;
  append(all, parts.h), append(all, parts.k), append(all, parts.x);
  return all;
}

}  // namespace mamba3::test
