// State files that are damaged, cut short, or another model's.
#include "infer/state_file.h"

#include <algorithm>
#include <fstream>
#include <utility>

#include "core/error.h"
#include "mamba3/session.h"
#include "support.h"

namespace mamba3 {
namespace {

class StateFiles : public testing::Test {
 protected:
  test::TemporaryFolder folder;
  Model model = Model::load(test::fixtures() / "tiny-siso");
  std::filesystem::path path = folder / "state";

  void SetUp() override {
    Session session(model);
    session.prefill(std::vector<TokenId>{1, 2, 3});
    session.save(path, "note");
  }

  void write(const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

  std::string refusal(const Model& reader) {
    try {
      Session::load(reader, path);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(StateFiles, EveryTruncationIsRefused) {
  const std::string whole = test::read_file(path);
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{63}, std::size_t{64},
                                 whole.size() / 2, whole.size() - 1}) {
    write(whole.substr(0, size));
    EXPECT_NE(refusal(model), "") << size;
  }
  write(whole + "x");
  EXPECT_NE(refusal(model), "");
}

TEST_F(StateFiles, AFlippedBitIsRefused) {
  const std::string whole = test::read_file(path);
  for (std::size_t at = 0; at < whole.size(); at += whole.size() / 97 + 1) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    write(damaged);
    EXPECT_NE(refusal(model), "") << at;
  }
}

TEST_F(StateFiles, AnotherModelsStateIsRefusedByName) {
  const Model other = Model::load(test::fixtures() / "tiny-mimo");
  EXPECT_NE(refusal(other).find("another model"), std::string::npos) << refusal(other);
}

TEST_F(StateFiles, AMissingFileIsRefused) {
  std::filesystem::remove(path);
  EXPECT_NE(refusal(model).find("state"), std::string::npos);
}

TEST_F(StateFiles, AFailedSaveLeavesTheOldState) {
  Session session(model);
  session.prefill(std::vector<TokenId>{4});
  EXPECT_THROW(session.save(folder / "nowhere" / "state"), Error);
  EXPECT_THROW(session.save("/dev/full"), Error);
  EXPECT_EQ(Session::load(model, path).position(), 3);
}

TEST_F(StateFiles, TheFingerprintTellsWeightsApart) {
  const Checkpoint a = load_checkpoint(test::fixtures() / "tiny-siso");
  Checkpoint b = a;
  std::vector<std::byte> changed(b.tensors["norm_f.weight"].bytes.begin(),
                                 b.tensors["norm_f.weight"].bytes.end());
  changed[0] ^= std::byte{1};
  b.tensors["norm_f.weight"].bytes = changed;
  EXPECT_EQ(fingerprint(a), fingerprint(load_checkpoint(test::fixtures() / "tiny-siso")));
  EXPECT_NE(fingerprint(a), fingerprint(b));
}

TEST_F(StateFiles, GoOnInTheOtherLayoutWithTheSameBits) {
  const Checkpoint original = load_checkpoint(test::fixtures() / "tiny-siso");
  for (const DType type : {DType::f32, DType::bf16, DType::q8_0}) {
    const auto rows_path = folder / "rows.gguf", tiles_path = folder / "tiles.gguf";
    save_gguf(original, rows_path, type);
    save_gguf(original, tiles_path, type, Layout::tiles);
    ASSERT_TRUE(load_checkpoint(tiles_path).tensor("layers.0.mixer.out_proj").tiled);
    const Model rows = Model::load(rows_path), tiles = Model::load(tiles_path);
    for (const auto& [from, to] : {std::pair{rows, tiles}, std::pair{tiles, rows}}) {
      Session session(from);
      session.prefill(std::vector<TokenId>{1, 2, 3, 4, 5});
      session.save(path);
      Session resumed = Session::load(to, path);
      resumed.step(6);
      session.step(6);
      EXPECT_TRUE(std::ranges::equal(resumed.logits(), session.logits())) << name_of(type);
    }
  }
}

// A seed of another release is refused by its first bytes, and the fuzzer never sees what lies behind them.
TEST(SeedsOfTheFuzzer, AreStatesOfItsModel) {
  ModelConfig config;
  config.d_model = config.mixer.d_model = 8;
  config.n_layer = 1;
  config.vocab_size = 8;
  config.mixer.headdim = 8;
  config.mixer.d_state = 2;
  const Network network(random_checkpoint(config, "fuzz", 0, DType::f32));
  const auto tokens = [&](const char* name) {
    const std::string bytes = test::read_file(test::fixtures() / "../../fuzz/corpus/state" / name);
    return parse_state(std::as_bytes(std::span(bytes)), name, 1, network).network.position;
  };
  EXPECT_EQ(tokens("empty"), 0);
  EXPECT_EQ(tokens("three-tokens"), 3);
}

}  // namespace
}  // namespace mamba3
