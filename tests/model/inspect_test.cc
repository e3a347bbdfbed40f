#include "model/inspect.h"

#include <cmath>
#include <cstring>

#include "formats/gguf.h"
#include "mamba3/error.h"
#include "model/checkpoint.h"
#include "tiny_model.h"

namespace mamba3 {
namespace {

std::string refusal(const std::filesystem::path& path, bool check = true) {
  try {
    inspect(path, check);
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << path << " was not refused";
  return {};
}

/// A GGUF of one tensor of four values.
void write_small_gguf(const std::filesystem::path& path, const std::string& architecture, float last) {
  const float values[] = {1, 2, 3, last};
  write_gguf(path, {{"general.architecture", architecture}, {"long", std::string(1000, 'x') + "\u00e9"}},
             {{"w", DType::f32, {4}}},
             [&](std::size_t, std::span<std::byte> out) { std::memcpy(out.data(), values, sizeof values); });
}

TEST(Inspect, TellsFilesApartByContent) {
  const test::TemporaryFolder folder;
  const auto copy = [&](const char* from, const char* to) {
    std::filesystem::copy_file(test::fixtures() / from, folder / to);
    return kind_of(folder / to);
  };
  EXPECT_EQ(copy("tiny-siso/pytorch_model.bin", "weights"), FileKind::torch);
  EXPECT_EQ(copy("mixer-siso-t1.safetensors", "golden"), FileKind::safetensors);
  EXPECT_EQ(copy("bad/good-tokenizer.json", "tokens"), FileKind::tokenizer);
  EXPECT_EQ(kind_of(test::fixtures() / "tiny-siso"), FileKind::folder);
  write_small_gguf(folder / "model", "llama", 4);
  EXPECT_EQ(kind_of(folder / "model"), FileKind::gguf);
}

TEST(Inspect, CountsParametersAndState) {
  const Checkpoint checkpoint = load_checkpoint(test::fixtures() / "tiny-siso");
  const Inspection found = inspect(test::fixtures() / "tiny-siso", true);
  std::int64_t parameters = 0;
  for (const auto& p : checkpoint.parameters) parameters += checkpoint.tensor(p.name).elements();
  EXPECT_EQ(found.parameters, parameters);
  EXPECT_EQ(found.kind, "model folder (torch)");
  EXPECT_GT(found.state_bytes, 0);
  EXPECT_FALSE(found.tokenizer.has_value());
}

TEST(Inspect, ListsModelsOfOtherArchitectures) {
  const test::TemporaryFolder folder;
  write_small_gguf(folder / "m.gguf", "llama", 4);
  const Inspection found = inspect(folder / "m.gguf", true);
  EXPECT_FALSE(found.config.has_value());
  EXPECT_NE(found.remark.find("llama"), std::string::npos);
  EXPECT_EQ(found.tensors.size(), 1u);
  for (const auto& [key, value] : found.metadata) EXPECT_LT(value.size(), 100u) << key;
}

TEST(Inspect, FindsWhatIsNotFinite) {
  const test::TemporaryFolder folder;
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    write_small_gguf(folder / "m.gguf", "llama", bad);
    EXPECT_NO_THROW(inspect(folder / "m.gguf", false));
    EXPECT_NE(refusal(folder / "m.gguf").find("tensor w"), std::string::npos);
  }
}

TEST(Inspect, FindsADamagedMemberOfATorchFile) {
  const test::TinyModel model;
  const std::filesystem::path weights = std::filesystem::path(model.path()) / "pytorch_model.bin";
  std::string bytes = test::read_file(weights);
  bytes[bytes.size() / 2] ^= 1;
  std::ofstream(weights, std::ios::binary) << bytes;
  for (const auto& path : {std::filesystem::path(model.path()), weights}) {
    EXPECT_NO_THROW(inspect(path, false));
    EXPECT_NE(refusal(path).find("CRC"), std::string::npos);
  }
}

TEST(LoadTokenizer, ReadsEveryKindOfSource) {
  const test::TinyModel model;
  const test::TemporaryFolder folder;
  save_gguf(load_checkpoint(model.path()), folder / "m.gguf", DType::f32);
  for (const std::filesystem::path path :
       {model.path(), model.path() + "/tokenizer.json", (folder / "m.gguf").string()}) {
    EXPECT_EQ(load_tokenizer(path).encode("ab"), (std::vector<TokenId>{1, 2})) << path;
  }
  EXPECT_THROW(load_tokenizer(test::fixtures() / "tiny-siso"), Error);
  EXPECT_THROW(load_tokenizer(model.path() + "/pytorch_model.bin"), Error);
}

}  // namespace
}  // namespace mamba3
