// The reference against numbers worked out here by hand, and against what its formulas promise.
#include "mixers/mamba3/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>
#include <string>

#include "mamba3/error.h"

namespace mamba3 {
namespace {

using reference::Mamba3Params;
using reference::Mamba3State;
using reference::ScanInput;
using reference::Values;

constexpr double kPi = std::numbers::pi;

Mamba3Config small_config(bool is_mimo = false, std::int64_t rank = 1) {
  Mamba3Config c;
  c.d_model = 8;
  c.d_state = 8;
  c.headdim = 4;
  c.ngroups = 2;
  c.is_mimo = is_mimo;
  c.mimo_rank = rank;
  return c;
}

class Draw {
 public:
  Values<double> operator()(std::int64_t count, double scale = 1, double offset = 0) {
    Values<double> values(static_cast<std::size_t>(count));
    for (double& v : values) v = offset + scale * normal_(engine_);
    return values;
  }

 private:
  std::mt19937_64 engine_{7};
  std::normal_distribution<double> normal_;
};

Mamba3Params<double> random_params(const Mamba3Config& c, Draw& draw) {
  const auto H = c.n_heads(), R = c.rank(), P = c.headdim, N = c.d_state;
  Mamba3Params<double> p;
  p.in_proj = draw((c.in_rows() + c.dynamics_rows()) * c.d_model, 0.35);
  p.out_proj = draw(c.d_model * c.d_inner(), 0.25);
  p.dt_bias = draw(H, 1, -2);
  p.D = draw(H);
  p.B_bias = draw(H * R * N, 0.5, 1), p.C_bias = draw(H * R * N, 0.5, 1);
  p.B_norm = draw(N, 0.5, 1), p.C_norm = draw(N, 0.5, 1);
  if (c.is_mimo) p.mimo_x = draw(H * R * P), p.mimo_z = draw(H * R * P), p.mimo_o = draw(H * R * P);
  if (c.is_outproj_norm) p.norm = draw(c.d_inner(), 0.5, 1);
  return p;
}

ScanInput<double> random_scan(const Mamba3Config& c, std::int64_t tokens, Draw& draw) {
  const auto H = c.n_heads(), R = c.rank(), P = c.headdim, N = c.d_state;
  ScanInput<double> in;
  in.tokens = tokens;
  in.q = draw(tokens * R * H * N), in.k = draw(tokens * R * H * N);
  in.x = draw(tokens * H * P), in.z = draw(tokens * H * P);
  in.adt = draw(tokens * H, 0.05, -0.3), in.dt = draw(tokens * H, 0.02, 0.2);
  in.trap = draw(tokens * H), in.angle = draw(tokens * c.n_angles());
  return in;
}

double largest_difference(const Values<double>& a, const Values<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

// d_model 1, one head, P = 1, N = 2, one angle: every number of the layer has a name below.
TEST(Reference, TwoTokensByHand) {
  Mamba3Config c;
  c.d_model = 1;
  c.expand = 1;
  c.headdim = 1;
  c.d_state = 2;
  c.rope_fraction = 1;
  ASSERT_EQ(c.n_angles(), 1);
  // rows of in_proj: z, x, B0, B1, C0, C1, dd_dt, dd_A, trap, angle
  const double w[] = {0.7, -1.2, 0.9, 0.4, -0.3, 1.1, 0.2, -0.5, 0.6, 0.8};
  Mamba3Params<double> p;
  p.in_proj.assign(std::begin(w), std::end(w));
  p.dt_bias = {-1};
  p.B_bias = {0.5, 1.5}, p.C_bias = {1, -0.25};
  p.B_norm = {1, 2}, p.C_norm = {0.5, 1};
  p.D = {0.3};
  p.out_proj = {2};
  const double u[] = {1.5, -0.8};

  double theta = 0, h0 = 0, h1 = 0, k0_before = 0, k1_before = 0, x_before = 0, expected[2];
  for (int t = 0; t < 2; ++t) {
    const double z = w[0] * u[t], x = w[1] * u[t], dd_A = w[7] * u[t];
    const double A = -(dd_A >= 0 ? 1 + dd_A : 1 / (1 - dd_A));
    const double dt = std::log(1 + std::exp(w[6] * u[t] - 1));
    const double lambda = 1 / (1 + std::exp(-w[8] * u[t]));
    theta += std::tanh(w[9] * u[t]) * kPi * dt;
    const double B0 = w[2] * u[t], B1 = w[3] * u[t], C0 = w[4] * u[t], C1 = w[5] * u[t];
    const double B_rms = std::sqrt((B0 * B0 + B1 * B1) / 2 + 1e-5),
                 C_rms = std::sqrt((C0 * C0 + C1 * C1) / 2 + 1e-5);
    const double b0 = B0 / B_rms * 1 + 0.5, b1 = B1 / B_rms * 2 + 1.5;
    const double c0 = C0 / C_rms * 0.5 + 1, c1 = C1 / C_rms * 1 - 0.25;
    const double k0 = b0 * std::cos(theta) - b1 * std::sin(theta),
                 k1 = b0 * std::sin(theta) + b1 * std::cos(theta);
    const double q0 = c0 * std::cos(theta) - c1 * std::sin(theta),
                 q1 = c0 * std::sin(theta) + c1 * std::cos(theta);
    const double alpha = std::exp(A * dt), beta = (1 - lambda) * dt * alpha, gamma = lambda * dt;
    h0 = alpha * h0 + beta * k0_before * x_before + gamma * k0 * x;
    h1 = alpha * h1 + beta * k1_before * x_before + gamma * k1 * x;
    const double y = h0 * q0 + h1 * q1 + 0.3 * x;
    expected[t] = 2 * y * z / (1 + std::exp(-z));
    k0_before = k0, k1_before = k1, x_before = x;
  }

  auto state = Mamba3State<double>::zeros(c);
  const auto out = reference::mixer(p, c, u, 2, state);
  EXPECT_NEAR(out[0], expected[0], 1e-14);
  EXPECT_NEAR(out[1], expected[1], 1e-14);
  EXPECT_NEAR(std::remainder(state.theta[0] - theta, 2 * kPi), 0, 1e-14);
  EXPECT_NEAR(state.h[0], h0, 1e-14);
  EXPECT_NEAR(state.h[1], h1, 1e-14);
  EXPECT_NEAR(state.k[1], k1_before, 1e-14);
  EXPECT_EQ(state.x[0], x_before);
}

// Three scalars and two ranks: the rank sum, mimo_x, mimo_z and mimo_o.
TEST(Reference, RanksAddUp) {
  Mamba3Config c;
  c.d_model = c.expand = c.headdim = 1;
  c.d_state = 2;
  c.rope_fraction = 0;
  c.is_mimo = true;
  c.mimo_rank = 2;
  Mamba3Params<double> p;
  p.D = {0.5};
  p.mimo_x = {2, -1}, p.mimo_z = {0.3, 4}, p.mimo_o = {1.5, -0.7};
  ScanInput<double> in{1, {1, 2, 3, -1}, {0.5, 1, -2, 0.25}, {3}, {0.9}, {-0.1}, {0.2}, {0}, {}};
  auto state = Mamba3State<double>::zeros(c);
  const auto y = reference::scan(in, p, c, state);
  // gamma = 0.5 * 0.2; v = (6, -3); h = gamma (v0 k_0 + v1 k_1)
  const double h[] = {0.1 * (6 * 0.5 + 3 * 2), 0.1 * (6 * 1 - 3 * 0.25)};
  const double wanted[] = {h[0] * 1 + h[1] * 2 + 0.5 * 6, h[0] * 3 - h[1] * 1 - 0.5 * 3};
  EXPECT_NEAR(y[0], wanted[0], 1e-15);
  EXPECT_NEAR(y[1], wanted[1], 1e-15);
  const auto silu = [](double v) { return v / (1 + std::exp(-v)); };
  const auto out = reference::gate(y, in.z, p, c, 1);
  EXPECT_NEAR(out[0], wanted[0] * silu(0.9 * 0.3) * 1.5 + wanted[1] * silu(0.9 * 4) * -0.7, 1e-14);
}

TEST(Reference, SingleTokensGiveTheSameAsOneCall) {
  for (const bool is_mimo : {false, true}) {
    const auto c = small_config(is_mimo, 3);
    Draw draw;
    const auto p = random_params(c, draw);
    const auto u = draw(9 * c.d_model);
    auto whole = Mamba3State<double>::zeros(c), single = whole;
    const auto expected = reference::mixer(p, c, u.data(), 9, whole);
    Values<double> out;
    for (int t = 0; t < 9; ++t) {
      const auto one = reference::mixer(p, c, &u[t * c.d_model], 1, single);
      out.insert(out.end(), one.begin(), one.end());
    }
    EXPECT_EQ(out, expected);
    EXPECT_EQ(single.h, whole.h);
    EXPECT_EQ(single.theta, whole.theta);
  }
}

// lambda = 1 takes nothing from the token before: h = alpha h + dt k x, whatever k and x the state carries.
TEST(Reference, LambdaOneIsTheEulerUpdate) {
  auto c = small_config();
  c.rope_fraction = 0;
  Draw draw;
  const auto p = random_params(c, draw);
  auto in = random_scan(c, 6, draw);
  std::fill(in.trap.begin(), in.trap.end(), 1000.0);
  const auto H = c.n_heads(), P = c.headdim, N = c.d_state;
  auto state = Mamba3State<double>::zeros(c);
  state.k = draw(static_cast<std::int64_t>(state.k.size()));
  state.x = draw(static_cast<std::int64_t>(state.x.size()));
  reference::scan(in, p, c, state);
  Values<double> h(H * P * N);
  for (std::int64_t t = 0; t < 6; ++t) {
    for (std::int64_t i = 0; i < H * P * N; ++i) {
      const auto head = i / (P * N), row = i / N, n = i % N;
      h[i] = std::exp(in.adt[t * H + head]) * h[i] +
             in.dt[t * H + head] * in.k[(t * H + head) * N + n] * in.x[t * H * P + row];
    }
  }
  EXPECT_LT(largest_difference(state.h, h), 1e-14);
}

// lambda = 0 looks at the token before alone, so the last token leaves no trace in h.
TEST(Reference, LambdaZeroLeavesTheLastTokenOut) {
  auto c = small_config();
  Draw draw;
  const auto p = random_params(c, draw);
  auto in = random_scan(c, 3, draw);
  std::fill(in.trap.begin(), in.trap.end(), -1000.0);
  auto other = in;
  for (std::int64_t i = 2 * c.d_inner(); i < 3 * c.d_inner(); ++i) other.x[i] = 5;
  auto a = Mamba3State<double>::zeros(c), b = a;
  reference::scan(in, p, c, a);
  reference::scan(other, p, c, b);
  EXPECT_EQ(a.h, b.h);
  EXPECT_NE(a.x, b.x);
}

TEST(Reference, RotationKeepsNormsAndWhatIsBeyondItsPairs) {
  for (const bool is_mimo : {false, true}) {
    const auto c = small_config(is_mimo);
    ASSERT_EQ(c.n_angles(), 2);
    Draw draw;
    const auto before = draw(c.d_state);
    auto after = before;
    const double theta[] = {1.1, -2.5};
    reference::rotate(after.data(), theta, c);
    double norm_before = 0, norm_after = 0;
    for (const double v : before) norm_before += v * v;
    for (const double v : after) norm_after += v * v;
    EXPECT_NEAR(norm_after, norm_before, 1e-14);
    for (std::int64_t n = 0; n < c.d_state; ++n) {
      const bool rotates = is_mimo ? n % (c.d_state / 2) < 2 : n < 4;
      EXPECT_EQ(after[n] != before[n], rotates) << "mimo " << is_mimo << ", state " << n;
    }
  }
}

TEST(Reference, SisoAndMimoOfRankOneRotateOtherPairs) {
  const auto siso = small_config(false), mimo = small_config(true, 1);
  const double quarter[] = {kPi / 2, 0};
  Values<double> a = {1, 0, 0, 0, 0, 0, 0, 0}, b = a;
  reference::rotate(a.data(), quarter, siso);
  reference::rotate(b.data(), quarter, mimo);
  EXPECT_NEAR(a[1], 1, 1e-15);  // pair (0, 1)
  EXPECT_NEAR(b[4], 1, 1e-15);  // pair (0, N / 2)
  EXPECT_EQ(a[4], 0);
  EXPECT_EQ(b[1], 0);
}

TEST(Reference, AnglesStayInTheCircle) {
  EXPECT_EQ(reference::wrap_angle(0.0), 0);
  EXPECT_NEAR(reference::wrap_angle(7.0), 7 - 2 * kPi, 1e-15);
  EXPECT_NEAR(reference::wrap_angle(-0.5), 2 * kPi - 0.5, 1e-15);
  for (const float angle : {-1e-9f, 6.2831855f, 1e4f, -1e4f}) {  // where float32 rounds to 2 pi itself
    EXPECT_GE(reference::wrap_angle(angle), 0) << angle;
    EXPECT_LT(reference::wrap_angle(angle), 2 * std::numbers::pi_v<float>) << angle;
  }
}

TEST(Reference, ActivationsOfA) {
  EXPECT_DOUBLE_EQ(reference::activation_A(2.0, AActivation::heavy_tail), 3);
  EXPECT_DOUBLE_EQ(reference::activation_A(-3.0, AActivation::heavy_tail), 0.25);
  EXPECT_DOUBLE_EQ(reference::activation_A(0.0, AActivation::softplus), std::log(2));
  EXPECT_DOUBLE_EQ(reference::activation_A(800.0, AActivation::softplus), 800);
}

TEST(Reference, AFloorBoundsTheDecay) {
  auto c = small_config();
  c.A_floor = 0.4;
  Draw draw;
  const auto p = random_params(c, draw);
  const auto u = draw(50 * c.d_model);
  const auto in = reference::prepare(p, c, u.data(), 50);
  int met = 0;
  for (std::size_t i = 0; i < in.adt.size(); ++i) {
    const double A = in.adt[i] / in.dt[i];
    EXPECT_LE(A, -0.4 + 1e-12);
    met += A > -0.4 - 1e-12;
  }
  EXPECT_GT(met, 0);
  EXPECT_LT(met, static_cast<int>(in.adt.size()));
}

TEST(Reference, NormOfTheOutputIsPerHead) {
  auto c = small_config();
  c.is_outproj_norm = true;
  Draw draw;
  auto p = random_params(c, draw);
  const auto y = draw(c.d_inner());
  const Values<double> z(c.d_inner(), 1);
  auto larger = y;
  for (std::int64_t i = 0; i < c.headdim; ++i) larger[i] *= 1000;  // the first head alone
  const auto a = reference::gate(y, z, p, c, 1), b = reference::gate(larger, z, p, c, 1);
  for (std::int64_t i = 0; i < c.d_inner(); ++i) EXPECT_NEAR(a[i], b[i], i < c.headdim ? 1e-4 : 0) << i;
}

struct BadConfig {
  const char* mentions;
  void (*spoil)(Mamba3Config&);
};

class Mamba3ConfigCheck : public testing::TestWithParam<BadConfig> {};

TEST_P(Mamba3ConfigCheck, NamesTheFieldThatDoesNotFit) {
  auto c = small_config();
  c.check("good");
  GetParam().spoil(c);
  try {
    c.check("model.json");
    FAIL() << "expected an Error that mentions " << GetParam().mentions;
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(error.what()).find(GetParam().mentions), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).rfind("model.json", 0), 0u) << error.what();
  }
}

INSTANTIATE_TEST_SUITE_P(
    Fields, Mamba3ConfigCheck,
    testing::Values(BadConfig{"d_model", [](Mamba3Config& c) { c.d_model = 0; }},
                    BadConfig{"d_model", [](Mamba3Config& c) { c.d_model = std::int64_t{1} << 40; }},
                    BadConfig{"inner width", [](Mamba3Config& c) { c.expand = 1 << 23; }},
                    BadConfig{"headdim", [](Mamba3Config& c) { c.headdim = 5; }},
                    BadConfig{"ngroups", [](Mamba3Config& c) { c.ngroups = 3; }},
                    BadConfig{"d_state", [](Mamba3Config& c) { c.d_state = 7; }},
                    BadConfig{"d_state", [](Mamba3Config& c) { c.d_state = -8; }},
                    BadConfig{"mimo_rank", [](Mamba3Config& c) { c.mimo_rank = 0; }},
                    BadConfig{"mimo_rank", [](Mamba3Config& c) { c.is_mimo = true, c.mimo_rank = 1 << 24; }},
                    BadConfig{"rope_fraction", [](Mamba3Config& c) { c.rope_fraction = 1.5; }},
                    BadConfig{"rope_fraction", [](Mamba3Config& c) { c.rope_fraction = NAN; }},
                    BadConfig{"A_floor", [](Mamba3Config& c) { c.A_floor = -1; }}));

}  // namespace
}  // namespace mamba3
