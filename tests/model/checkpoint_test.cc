// The table of parameters, and a model's way through every format.
#include "model/checkpoint.h"

#include <cstring>
#include <fstream>
#include <set>

#include "core/error.h"
#include "formats/tensor_file.h"
#include "model/finite.h"
#include "support.h"

namespace mamba3 {
namespace {

ModelConfig small(bool mimo, bool mlp, bool tied, bool rms) {
  ModelConfig c;
  c.d_model = c.mixer.d_model = 64;
  c.n_layer = 2;
  c.vocab_size = 61;
  c.d_intermediate = mlp ? 100 : 0;
  c.ffn_width = mlp ? 128 : 0;
  c.tie_embeddings = tied;
  c.rms_norm = rms;
  c.mixer.headdim = 32;
  c.mixer.d_state = 16;
  c.mixer.is_mimo = mimo;
  c.mixer.mimo_rank = mimo ? 3 : 4;
  c.mixer.is_outproj_norm = mimo;
  return c;
}

std::vector<float> values(const TensorView& tensor) {
  std::vector<float> out(static_cast<std::size_t>(tensor.elements()));
  to_float(tensor.dtype, tensor.bytes.data(), tensor.elements(), out.data());
  return out;
}

TEST(ParameterTable, HoldsEveryTensorOfEveryShapeOnce) {
  for (const int bits : {0, 1, 2, 3, 5, 7, 10, 15}) {
    const ModelConfig c = small(bits & 1, bits & 2, bits & 4, bits & 8);
    std::set<std::string> names, ggufs;
    std::map<std::string, std::int64_t> next_row;  // of each official tensor
    for (const Parameter& p : parameter_table(c)) {
      EXPECT_TRUE(names.insert(p.name).second) << p.name;
      EXPECT_TRUE(ggufs.insert(p.gguf).second) << p.gguf;
      EXPECT_LT(p.gguf.size(), 64u) << "llama.cpp's limit";
      EXPECT_EQ(p.official_row, next_row[p.official]) << p.name << " leaves a hole in " << p.official;
      next_row[p.official] += p.shape[0];
      EXPECT_EQ(std::count(p.axes.begin(), p.axes.end(), ' ') + 1, std::ssize(p.shape)) << p.name;
    }
  }
}

TEST(ParameterTable, CountsTheNamedShapesOfTheSpecification) {
  const std::map<std::string, double> millions = {{"mamba3-siso-187m", 186.8}, {"mamba3-mimo-187m", 187.3}};
  for (const auto& [name, expected] : millions) {
    const Checkpoint c = random_checkpoint(name, 0, DType::q8_0);
    std::int64_t count = 0;
    for (const Parameter& p : c.parameters) count += *checked_elements(p.shape);
    EXPECT_NEAR(static_cast<double>(count) / 1e6, expected, 0.05) << name;
  }
}

TEST(Checkpoints, RandomWeightsDependOnTheSeedAlone) {
  const ModelConfig c = small(true, true, false, true);
  const Checkpoint a = random_checkpoint(c, "a", 1, DType::f32), b = random_checkpoint(c, "b", 1, DType::f32);
  const Checkpoint other = random_checkpoint(c, "c", 2, DType::f32);
  EXPECT_EQ(values(a.tensor("embedding")), values(b.tensor("embedding")));
  EXPECT_NE(values(a.tensor("embedding")), values(other.tensor("embedding")));
  EXPECT_NE(values(a.tensor("layers.0.mixer.in_proj")), values(a.tensor("layers.1.mixer.in_proj")));
  check_finite(a);
}

class RoundTrips : public testing::TestWithParam<int> {
 protected:
  test::TemporaryFolder folder;
  Checkpoint original = random_checkpoint(
      small(GetParam() & 1, GetParam() & 2, GetParam() & 4, GetParam() & 8), "original", 5, DType::f32);

  void expect_same(const Checkpoint& found) {
    EXPECT_EQ(config_to_json(found.config), config_to_json(original.config));
    for (const Parameter& p : original.parameters) {
      EXPECT_EQ(values(found.tensor(p.name)), values(original.tensor(p.name))) << p.name;
    }
  }
};

TEST_P(RoundTrips, Gguf) {
  original.config.d_intermediate = original.config.ffn_width;  // GGUF keeps the stored width only
  save_gguf(original, folder / "m.gguf", DType::f32);
  expect_same(load_checkpoint(folder / "m.gguf"));
}

TEST_P(RoundTrips, Folder) {
  save_folder(original, folder / "m", DType::f32);
  expect_same(load_checkpoint(folder / "m"));
}

TEST_P(RoundTrips, QuantizedWeightsKeepTheirErrorBoundAndExactOnesTheirBits) {
  save_gguf(original, folder / "m.gguf", DType::q8_0);
  const Checkpoint found = load_checkpoint(folder / "m.gguf");
  for (const Parameter& p : original.parameters) {
    const auto a = values(original.tensor(p.name)), b = values(found.tensor(p.name));
    if (p.precision == Precision::exact) {
      EXPECT_EQ(found.tensor(p.name).dtype, DType::f32) << p.name;
      EXPECT_EQ(a, b) << p.name;
      continue;
    }
    EXPECT_EQ(found.tensor(p.name).dtype, DType::q8_0) << p.name;
    for (std::size_t i = 0; i < a.size(); ++i) {
      float largest = 0;
      for (std::size_t j = i / 32 * 32; j < i / 32 * 32 + 32; ++j)
        largest = std::max(largest, std::fabs(a[j]));
      // Half a step of largest / 127, and the scale's own rounding to float16 (2^-11) of 127 steps.
      ASSERT_NEAR(a[i], b[i], largest / 127 * (0.5f + 127 * 0x1p-11f + 1e-3f)) << p.name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, RoundTrips, testing::Values(0, 3, 6, 9, 15));

TEST(Checkpoints, ReadTheAwkwardTorchFolders) {
  for (const char* name : {"tiny-siso", "tiny-mimo"}) {
    const Checkpoint c = load_checkpoint(test::fixtures() / name);
    EXPECT_EQ(c.format, "torch");
    check_finite(c);
  }
}

class Damage : public testing::Test {
 protected:
  test::TemporaryFolder folder;
  std::string refusal(const std::filesystem::path& path) {
    try {
      check_finite(load_checkpoint(path));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(Damage, GgufFilesOfOtherModelsAreRefusedByName) {
  Checkpoint c = random_checkpoint(small(false, true, true, true), "c", 1, DType::f32);
  save_gguf(c, folder / "m.gguf", DType::f32);
  std::string bytes = test::read_file(folder / "m.gguf");
  const auto replace = [&](std::string from, const std::string& to) {
    std::string changed = bytes;
    changed.replace(changed.find(from), from.size(), to);
    std::ofstream(folder / "changed.gguf", std::ios::binary) << changed;
    return refusal(folder / "changed.gguf");
  };
  EXPECT_NE(replace("blk.1.ssm_dt.bias", "blk.1.ssm_dt.bios").find("blk.1.ssm_dt.bias"), std::string::npos);
  EXPECT_NE(replace("heavy_tail", "heavy_tale").find("heavy_tale"), std::string::npos);
}

TEST_F(Damage, AHugeLayerCountIsRefusedBeforeATableIsMade) {
  std::filesystem::create_directory(folder / "m");
  std::filesystem::copy(test::fixtures() / "tiny-siso" / "pytorch_model.bin",
                        folder / "m" / "pytorch_model.bin");
  std::ofstream(folder / "m" / "config.json")
      << R"({"d_model": 32, "n_layer": 100000, "vocab_size": 61, "ssm_cfg": {"layer": "Mamba3", "d_state": 8}})";
  EXPECT_NE(refusal(folder / "m").find("n_layer is 100000"), std::string::npos) << refusal(folder / "m");
}

TEST_F(Damage, AConfigurationThatIgnoresTensorsIsRefused) {
  std::filesystem::create_directory(folder / "m");
  std::filesystem::copy(test::fixtures() / "tiny-mimo" / "pytorch_model.bin",
                        folder / "m" / "pytorch_model.bin");
  std::string config = test::read_file(test::fixtures() / "tiny-mimo" / "config.json");
  config.replace(config.find("\"is_outproj_norm\": true"), 23, "\"is_outproj_norm\": false");
  std::ofstream(folder / "m" / "config.json") << config;
  EXPECT_NE(refusal(folder / "m").find("mixer.norm.weight"), std::string::npos) << refusal(folder / "m");
}

TEST_F(Damage, NothingIsWrittenOverAFolderInUse) {
  const Checkpoint c = random_checkpoint(small(false, false, true, true), "c", 1, DType::f32);
  std::filesystem::create_directory(folder / "m");
  std::ofstream(folder / "m" / "mine") << "x";
  EXPECT_THROW(save_folder(c, folder / "m", DType::f32), Error);
  EXPECT_THROW(save_folder(c, folder / "q", DType::q8_0), Error);
  EXPECT_THROW(save_gguf(c, "/dev/full", DType::f32), Error);
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    names.insert(entry.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{"m"})) << "something was left behind";
}

}  // namespace
}  // namespace mamba3
