// Goldens without files: inputs from a hash of their index, the same on every machine.
#include <cmath>

#include "selftest/layer_goldens.h"
#include "selftest/model_goldens.h"

namespace mamba3::selftest {
namespace {

/// Bell-shaped numbers of mean 0 and variance 1, exact in float32. A tensor's values depend on the case and
/// on how many tensors were drawn before it.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u) {}

  Values operator()(std::int64_t count, double scale = 1, double offset = 0) {
    Values values(static_cast<std::size_t>(count));
    for (double& v : values) {
      const double sum = uniform() + uniform() + uniform() + uniform() - 2;
      v = static_cast<float>(offset + scale * std::sqrt(3.0) * sum);
    }
    return values;
  }

  /// Uniform in [low, high).
  Values between(double low, double high, std::int64_t count) {
    Values values(static_cast<std::size_t>(count));
    for (double& v : values) v = static_cast<float>(low + (high - low) * uniform());
    return values;
  }

  std::vector<TokenId> ids(std::int64_t count, std::int64_t vocabulary) {
    std::vector<TokenId> result(static_cast<std::size_t>(count));
    for (TokenId& id : result) id = static_cast<TokenId>(next() % static_cast<std::uint64_t>(vocabulary));
    return result;
  }

 private:
  /// splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  double uniform() { return static_cast<double>(next() >> 40) * 0x1p-24; }

  std::uint64_t state_;
};

struct Case {
  const char* name;
  std::int64_t d_state, headdim, ngroups, rank;  // rank 0: SISO
  double rope_fraction;
  bool norm;
  AActivation activation;
  bool resumed;
  std::vector<std::int64_t> tokens;  // one packed sequence each
};

constexpr auto kHeavy = AActivation::heavy_tail;
constexpr auto kSoft = AActivation::softplus;

// Lengths at the edges of a block of rows and of its chunks; every rank that kernels may treat apart.
const Case kMixerCases[] = {
    {"one token", 16, 16, 1, 0, 0.5, false, kHeavy, false, {1}},
    {"siso", 32, 16, 1, 0, 0.5, false, kHeavy, false, {63, 64, 65}},
    {"siso, groups, softplus", 32, 16, 2, 0, 0.5, false, kSoft, true, {130}},
    {"siso, norm, no rotation", 16, 32, 1, 0, 0.0, true, kHeavy, true, {65, 2}},
    {"siso, all rotated", 48, 16, 1, 0, 1.0, false, kHeavy, true, {64, 1}},
    {"siso, released head", 128, 64, 1, 0, 0.5, false, kHeavy, true, {70}},
    {"mimo of rank 1", 16, 16, 1, 1, 0.5, false, kHeavy, false, {63, 2}},
    {"mimo of rank 2, groups", 16, 16, 2, 2, 1.0, false, kSoft, true, {130}},
    {"mimo of rank 3, norm", 32, 16, 1, 3, 0.5, true, kHeavy, true, {65, 1, 64}},
    {"mimo of rank 4", 64, 16, 1, 4, 0.5, false, kHeavy, false, {63, 64}},
    {"mimo of rank 4, released head", 128, 64, 1, 4, 0.5, false, kHeavy, true, {66}},
    {"mimo of rank 8, no rotation", 16, 16, 1, 8, 0.0, false, kSoft, true, {65, 2}},
};

Mamba3Config config_of(const Case& c) {
  Mamba3Config config;
  config.d_state = c.d_state;
  config.headdim = c.headdim;
  config.d_model = 2 * c.headdim;  // four heads
  config.ngroups = c.ngroups;
  config.rope_fraction = c.rope_fraction;
  config.is_mimo = c.rank > 0;
  config.mimo_rank = std::max<std::int64_t>(c.rank, 1);
  config.is_outproj_norm = c.norm;
  config.A_activation = c.activation;
  if (c.activation == kSoft) config.A_floor = 0.3;  // met by a seventh of the A
  return config;
}

void draw_parameters(const Mamba3Config& c, Draw& draw, Arrays& to) {
  const auto H = c.n_heads(), R = c.rank(), P = c.headdim, N = c.d_state, E = c.d_inner(), D = c.d_model;
  const auto rows = c.in_rows() + c.dynamics_rows();
  to["param.in_proj.weight"] = {{rows, D}, draw(rows * D, 1 / std::sqrt(static_cast<double>(D)))};
  to["param.out_proj.weight"] = {{D, E}, draw(D * E, 1 / std::sqrt(static_cast<double>(E)))};
  to["param.dt_bias"] = {{H}, draw(H, 1, -3)};
  to["param.D"] = {{H}, draw(H, 0.5, 1)};
  for (const char* name : {"param.B_bias", "param.C_bias"}) to[name] = {{H, R, N}, draw(H * R * N, 0.5, 1)};
  for (const char* name : {"param.B_norm.weight", "param.C_norm.weight"}) to[name] = {{N}, draw(N, 0.5, 1)};
  if (c.is_outproj_norm) to["param.norm.weight"] = {{E}, draw(E, 0.5, 1)};
  if (!c.is_mimo) return;
  for (const char* name : {"param.mimo_x", "param.mimo_z", "param.mimo_o"}) {
    to[name] = {{H, R, P}, draw(H * R * P, 0.5, 1)};
  }
}

void draw_state(const Mamba3Config& c, std::int64_t count, Draw& draw, Arrays& to) {
  const auto H = c.n_heads(), R = c.rank(), P = c.headdim, N = c.d_state, S = c.n_angles();
  to["state0.theta"] = {{count, H, S}, draw.between(0, 6.28, count * H * S)};
  to["state0.h"] = {{count, H, P, N}, draw(count * H * P * N)};
  to["state0.k"] = {{count, R, H, N}, draw(count * R * H * N)};
  to["state0.x"] = {{count, H, P}, draw(count * H * P)};
}

/// The golden's outputs as the float64 reference computes them.
Golden completed(Golden golden) {
  for (auto& [name, array] : run_layer(*make_reference<double>(), golden))
    golden.tensors[name] = std::move(array);
  return golden;
}

Golden mixer_golden(const Case& c, std::uint64_t seed) {
  Draw draw(seed);
  Golden golden;
  golden.name = c.name;
  golden.kind = "mixer";
  golden.config = config_of(c);
  draw_parameters(golden.config, draw, golden.tensors);
  Array bounds{{static_cast<std::int64_t>(c.tokens.size()) + 1}, {0}};
  for (const auto tokens : c.tokens)
    bounds.values.push_back(bounds.values.back() + static_cast<double>(tokens));
  const auto tokens = static_cast<std::int64_t>(bounds.values.back());
  golden.tensors["u"] = {{1, tokens, golden.config.d_model}, draw(tokens * golden.config.d_model)};
  golden.tensors["cu_seqlens"] = std::move(bounds);
  if (c.resumed) draw_state(golden.config, static_cast<std::int64_t>(c.tokens.size()), draw, golden.tensors);
  return completed(std::move(golden));
}

Golden step_golden(const Case& c, std::uint64_t seed) {
  constexpr std::int64_t kSteps = 4, kSessions = 3;
  Draw draw(seed);
  Golden golden;
  golden.name = c.name;
  golden.kind = "step";
  golden.config = config_of(c);
  draw_parameters(golden.config, draw, golden.tensors);
  draw_state(golden.config, kSessions, draw, golden.tensors);
  const auto D = golden.config.d_model;
  golden.tensors["u"] = {{kSteps, kSessions, D}, draw(kSteps * kSessions * D)};
  return completed(std::move(golden));
}

/// Two layers with random weights; `other`: MIMO, LayerNorm, an MLP and a head of its own.
Golden small_model(const char* name, bool other, std::uint64_t seed) {
  ModelConfig config;
  config.d_model = 32;
  config.n_layer = 2;
  config.vocab_size = 61;
  config.rms_norm = config.tie_embeddings = !other;
  config.d_intermediate = config.ffn_width = other ? 128 : 0;
  config.mixer.d_model = config.d_model;
  config.mixer.d_state = 16;
  config.mixer.headdim = 16;
  config.mixer.is_mimo = other;
  auto model = std::make_shared<const Checkpoint>(random_checkpoint(config, name, seed, DType::f32));
  Draw draw(seed);
  return model_golden(name, std::move(model),
                      {draw.ids(70, config.vocab_size), draw.ids(1, config.vocab_size)}, 16);
}

}  // namespace

std::vector<Golden> built_in_goldens() {
  std::vector<Golden> goldens;
  std::uint64_t seed = 0;
  for (const Case& c : kMixerCases) goldens.push_back(mixer_golden(c, ++seed));
  for (const Case& c : kMixerCases) goldens.push_back(step_golden(c, ++seed));
  goldens.push_back(small_model("siso, tied head", false, ++seed));
  goldens.push_back(small_model("mimo, LayerNorm, MLP", true, ++seed));
  return goldens;
}

}  // namespace mamba3::selftest
