#include "selftest/layer_inputs.h"

#include "core/error.h"
#include "selftest/convert.h"

namespace mamba3::selftest {

std::vector<Sequence> sequences_of(const Golden& golden, std::int64_t batch, std::int64_t tokens) {
  std::vector<Sequence> sequences;
  if (!golden.has("cu_seqlens")) {
    for (std::int64_t b = 0; b < batch; ++b) sequences.push_back({b * tokens, (b + 1) * tokens});
    return sequences;
  }
  std::int64_t begin = 0;
  const auto& bounds = golden.at("cu_seqlens").values;
  for (std::size_t i = 1; i < bounds.size(); ++i) {
    const auto end = static_cast<std::int64_t>(bounds[i]);
    if (end <= begin || end > tokens) break;
    sequences.push_back({begin, end});
    begin = end;
  }
  if (batch != 1 || bounds.empty() || bounds[0] != 0 || sequences.size() + 1 != bounds.size() ||
      begin != tokens) {
    fail(ErrorCode::bad_format,
         "{}: cu_seqlens is [{}], expected rising bounds from 0 to {} of one packed row", golden.name,
         fmt::join(bounds, ", "), tokens);
  }
  return sequences;
}

std::vector<std::int64_t> leading_sizes(const Golden& golden, const std::string& tensor, std::size_t axes,
                                        std::size_t count) {
  const Shape& shape = golden.at(tensor).shape;
  if (shape.size() != axes || golden.at(tensor).values.empty()) {
    fail(ErrorCode::bad_format, "{}: {} has the shape [{}], expected {} axes, none empty", golden.name,
         tensor, fmt::join(shape, ", "), axes);
  }
  return {shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(count)};
}

Params mixer_params(const Golden& golden) {
  const Mamba3Config& c = golden.config;
  const auto H = c.n_heads(), R = c.rank(), P = c.headdim, N = c.d_state, E = c.d_inner(), D = c.d_model;
  const auto read = [&](const char* name, const Shape& shape) {
    return golden.values(std::string("param.") + name, shape);
  };
  const auto read_if = [&](bool wanted, const char* name, const Shape& shape) {
    return wanted ? read(name, shape) : Values{};
  };
  return {.in_proj = read("in_proj.weight", {c.in_rows() + c.dynamics_rows(), D}),
          .dt_bias = read("dt_bias", {H}),
          .B_bias = read("B_bias", {H, R, N}),
          .C_bias = read("C_bias", {H, R, N}),
          .B_norm = read("B_norm.weight", {N}),
          .C_norm = read("C_norm.weight", {N}),
          .D = read("D", {H}),
          .mimo_x = read_if(c.is_mimo, "mimo_x", {H, R, P}),
          .mimo_z = read_if(c.is_mimo, "mimo_z", {H, R, P}),
          .mimo_o = read_if(c.is_mimo, "mimo_o", {H, R, P}),
          .norm = read_if(c.is_outproj_norm, "norm.weight", {E}),
          .out_proj = read("out_proj.weight", {D, E})};
}

Params scan_params(const Golden& golden) {
  const Mamba3Config& c = golden.config;
  const Shape of_rank = {c.n_heads(), c.rank(), c.headdim};
  Params params;
  params.D = golden.values("D", {c.n_heads()});
  if (c.is_mimo) {
    params.mimo_x = golden.values("mimo_x", of_rank);
    params.mimo_z = golden.values("mimo_z", of_rank);
    params.mimo_o = golden.values("mimo_o", of_rank);
  }
  return params;
}

std::array<StatePart, 4> state_parts(const Mamba3Config& c) {
  const auto H = c.n_heads(), P = c.headdim, N = c.d_state;
  return {{{"theta", &State::theta, {H, c.n_angles()}},
           {"h", &State::h, {H, P, N}},
           {"k", &State::k, {c.rank(), H, N}},
           {"x", &State::x, {H, P}}}};
}

Shape prepended(const Shape& front, const Shape& shape) {
  Shape whole = front;
  whole.insert(whole.end(), shape.begin(), shape.end());
  return whole;
}

std::vector<State> start_states(const Golden& golden, std::int64_t count) {
  std::vector<State> states(static_cast<std::size_t>(count), State::zeros(golden.config));
  if (!golden.has("state0.h")) return states;
  for (const StatePart& part : state_parts(golden.config)) {
    const auto& values = golden.values(std::string("state0.") + part.name, prepended({count}, part.shape));
    for (std::int64_t q = 0; q < count; ++q) {
      states[static_cast<std::size_t>(q)].*part.values = rows_between(values, count, q, q + 1);
    }
  }
  return states;
}

}  // namespace mamba3::selftest
