// The mixer's rows of the table of parameters.
#include "mixers/mamba3/mamba3.h"

namespace mamba3 {

ParameterTable mamba3_parameters(const Mamba3Config& c) {
  const auto D = c.d_model, E = c.d_inner(), H = c.n_heads(), P = c.headdim, N = c.d_state, R = c.rank();
  using enum Precision;
  ParameterTable table = {
      {"in_proj",
       "zxBC d_model",
       {c.in_rows(), D},
       weight,
       Init::fan_in,
       true,
       "in_proj.weight",
       0,
       "ssm_in.weight"},
      {"dynamics",
       "dt_A_trap_angle d_model",
       {c.dynamics_rows(), D},
       exact,
       Init::fan_in,
       true,
       "in_proj.weight",
       c.in_rows(),
       "ssm_dynamics.weight"},
      {"dt_bias", "head", {H}, exact, Init::dt_bias, false, "dt_bias", 0, "ssm_dt.bias"},
      {"B_bias", "head rank state", {H, R, N}, exact, Init::ones, false, "B_bias", 0, "ssm_b.bias"},
      {"C_bias", "head rank state", {H, R, N}, exact, Init::ones, false, "C_bias", 0, "ssm_c.bias"},
      {"B_norm", "state", {N}, exact, Init::ones, false, "B_norm.weight", 0, "ssm_b_norm.weight"},
      {"C_norm", "state", {N}, exact, Init::ones, false, "C_norm.weight", 0, "ssm_c_norm.weight"},
      {"D", "head", {H}, exact, Init::ones, false, "D", 0, "ssm_d"},
      {"out_proj",
       "d_model inner",
       {D, E},
       weight,
       Init::residual_out,
       true,
       "out_proj.weight",
       0,
       "ssm_out.weight"},
  };
  if (c.is_mimo) {
    const Shape shape = {H, R, P};
    table.push_back(
        {"mimo_x", "head rank channel", shape, exact, Init::one_over_rank, true, "mimo_x", 0, "ssm_mimo_x"});
    table.push_back(
        {"mimo_z", "head rank channel", shape, exact, Init::ones, true, "mimo_z", 0, "ssm_mimo_z"});
    table.push_back(
        {"mimo_o", "head rank channel", shape, exact, Init::one_over_rank, true, "mimo_o", 0, "ssm_mimo_o"});
  }
  if (c.is_outproj_norm) {
    table.push_back({"norm", "inner", {E}, exact, Init::ones, false, "norm.weight", 0, "ssm_norm.weight"});
  }
  return table;
}

}  // namespace mamba3
