#include "model/config.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace mamba3 {
namespace {

constexpr const char* kSmallest =
    R"({"d_model": 64, "n_layer": 1, "vocab_size": 61, "ssm_cfg": {"layer": "Mamba3"}})";

std::string refusal(const std::string& json) {
  try {
    parse_config(json, "config.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// The smallest config with one key of ssm_cfg or of the top added.
std::string with_ssm(const std::string& field) {
  return R"({"d_model": 64, "n_layer": 1, "vocab_size": 61, "ssm_cfg": {"layer": "Mamba3", )" + field + "}}";
}
std::string with_top(const std::string& field) {
  return R"({"d_model": 64, "n_layer": 1, "vocab_size": 61, "ssm_cfg": {"layer": "Mamba3"}, )" + field + "}";
}

TEST(Config, MissingKeysTakeTheReferencesDefaults) {
  const ModelConfig c = parse_config(kSmallest, "config.json");
  EXPECT_EQ(c.mixer.d_state, 128);
  EXPECT_EQ(c.mixer.expand, 2);
  EXPECT_EQ(c.mixer.headdim, 64);
  EXPECT_EQ(c.mixer.ngroups, 1);
  EXPECT_EQ(c.mixer.rope_fraction, 0.5);
  EXPECT_FALSE(c.mixer.is_mimo);
  EXPECT_EQ(c.mixer.mimo_rank, 4);
  EXPECT_EQ(c.mixer.rank(), 1);
  EXPECT_EQ(c.mixer.A_floor, 1e-4);
  EXPECT_EQ(c.mixer.A_activation, AActivation::heavy_tail);
  EXPECT_FALSE(c.mixer.is_outproj_norm);
  EXPECT_EQ(c.d_intermediate, 0);
  EXPECT_TRUE(c.rms_norm && c.residual_in_fp32 && c.fused_add_norm && c.tie_embeddings);
  EXPECT_EQ(c.pad_vocab_size_multiple, 8);
  EXPECT_EQ(c.vocab_rows(), 64);
  EXPECT_EQ(c.chunk_size, 64);
}

TEST(Config, WritesWhatItReads) {
  ModelConfig c =
      parse_config(with_ssm(R"("is_mimo": true, "mimo_rank": 3, "rope_fraction": 0.3, "A_floor": 0.25,
      "A_activation": "softplus", "is_outproj_norm": true, "ngroups": 2, "headdim": 32, "expand": 4, "d_state": 20)"),
                   "config.json");
  c.rms_norm = c.tie_embeddings = false;
  const ModelConfig again = parse_config(config_to_json(c), "config.json");
  EXPECT_EQ(config_to_json(again), config_to_json(c));
  EXPECT_EQ(again.mixer.rank(), 3);
  EXPECT_EQ(again.mixer.rope_fraction, 0.3);
  EXPECT_EQ(again.mixer.n_angles(), 3);  // floor(20 * 0.3) = 6 values, 3 pairs
  EXPECT_EQ(again.mixer.A_activation, AActivation::softplus);
}

struct Refused {
  std::string json;
  std::vector<std::string> words;
};

class ConfigRefusals : public testing::TestWithParam<Refused> {};

TEST_P(ConfigRefusals, AreOneSentenceWithTheFieldAndTheValue) {
  const std::string message = refusal(GetParam().json);
  ASSERT_NE(message, "") << GetParam().json;
  for (const std::string& word : GetParam().words)
    EXPECT_NE(message.find(word), std::string::npos) << message;
  EXPECT_EQ(message.find('\n'), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(
    All, ConfigRefusals,
    testing::Values(
        Refused{"d_model = 16", {"config.json", "JSON"}}, Refused{"[1]", {"config.json", "object"}},
        Refused{R"({"n_layer": 1, "vocab_size": 8})", {"d_model", "missing"}},
        Refused{R"({"d_model": 64, "n_layer": 1, "vocab_size": 61})", {"Mamba1"}},
        Refused{R"({"d_model": "x", "n_layer": 1, "vocab_size": 61})", {"d_model", "\"x\""}},
        Refused{R"({"d_model": 64.5, "n_layer": 1, "vocab_size": 61})", {"d_model", "64.5"}},
        Refused{R"({"d_model": 18446744073709551615, "n_layer": 1, "vocab_size": 61})", {"d_model"}},
        Refused{R"({"d_model": 64, "n_layer": 0, "vocab_size": 61, "ssm_cfg": {"layer": "Mamba3"}})",
                {"n_layer", "0"}},
        Refused{R"({"d_model": 64, "n_layer": 1, "vocab_size": -3, "ssm_cfg": {"layer": "Mamba3"}})",
                {"vocab_size", "-3"}},
        Refused{with_ssm(R"("headdim": 5)"), {"headdim", "5", "128"}},
        Refused{with_ssm(R"("headdim": 0)"), {"headdim", "0"}},
        Refused{with_ssm(R"("ngroups": 3)"), {"ngroups", "3"}},
        Refused{with_ssm(R"("d_state": 7)"), {"d_state", "7"}},
        Refused{with_ssm(R"("d_state": 4611686018427387904)"), {"d_state"}},
        Refused{with_ssm(R"("expand": 9223372036854775807)"), {"expand"}},
        Refused{with_ssm(R"("rope_fraction": 1.5)"), {"rope_fraction", "1.5"}},
        Refused{with_ssm(R"("rope_fraction": "half")"), {"rope_fraction", "half"}},
        Refused{with_ssm(R"("A_activation": "relu")"), {"A_activation", "relu"}},
        Refused{with_ssm(R"("is_mimo": 1)"), {"is_mimo", "true or false"}},
        Refused{with_ssm(R"("is_mimo": true, "mimo_rank": 0)"), {"mimo_rank", "0"}},
        Refused{with_top(R"("attn_layer_idx": [3])"), {"attn_layer_idx", "attention"}},
        Refused{with_top(R"("pad_vocab_size_multiple": 0)"), {"pad_vocab_size_multiple", "0"}},
        Refused{with_top(R"("d_intermediate": -1)"), {"d_intermediate", "-1"}}));

}  // namespace
}  // namespace mamba3
