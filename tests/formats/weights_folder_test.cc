#include <fstream>

#include "expect.h"
#include "file_bytes.h"
#include "formats/tensor_file.h"
#include "support.h"

namespace mamba3 {
namespace {

using test::expect_mentions;
using test::refusal;

class WeightsFolder : public testing::Test {
 protected:
  void put(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  void put_index(const std::string& weight_map) {
    put("model.safetensors.index.json", R"({"weight_map":)" + weight_map + "}");
  }
  TensorFile read() const { return read_weights_folder(folder_.path()); }
  std::string refused() const {
    return refusal([&] { read(); });
  }

  /// A file with U8 tensors of one element each.
  static std::string shard(const std::vector<std::string>& names, char value = 'v') {
    std::string header = R"({"__metadata__":{"format":"pt"})";
    for (std::size_t i = 0; i < names.size(); ++i) {
      header += ",\"" + names[i] + R"(":{"dtype":"U8","shape":[1],"data_offsets":[)" + std::to_string(i) +
                "," + std::to_string(i + 1) + "]}";
    }
    return test::safetensors(header + "}", std::string(names.size(), value));
  }

  test::TemporaryFolder folder_;
};

TEST_F(WeightsFolder, AnEmptyOneSaysWhatWasLookedFor) {
  expect_mentions(refused(), {folder_.path().string(), "model.safetensors", "model.safetensors.index.json",
                              "pytorch_model.bin", "pytorch_model.bin.index.json"});
  expect_mentions(refusal([&] { read_weights_folder(folder_ / "missing"); }), {"missing", "no such folder"});
  put("file", "text");
  expect_mentions(refusal([&] { read_weights_folder(folder_ / "file"); }), {"file", "no such folder"});
}

TEST_F(WeightsFolder, TheFirstKindIsPreferred) {
  put("pytorch_model.bin.index.json", R"({"weight_map":{"index":"part.bin"}})");
  put("part.bin", test::torch_file(test::state_dict({{"index", {}}}), {{"0", std::string(16, '\0')}}));
  EXPECT_TRUE(read().tensors.contains("index"));
  EXPECT_EQ(read().format, "torch");
  put("pytorch_model.bin", test::torch_file(test::state_dict({{"bin", {}}}), {{"0", std::string(16, '\0')}}));
  EXPECT_TRUE(read().tensors.contains("bin"));
  put("part.safetensors", shard({"sharded"}));
  put_index(R"({"sharded":"part.safetensors"})");
  EXPECT_TRUE(read().tensors.contains("sharded"));
  put("model.safetensors", shard({"single"}));
  EXPECT_TRUE(read().tensors.contains("single"));
  EXPECT_EQ(read().name, (folder_ / "model.safetensors").string());
}

TEST_F(WeightsFolder, ShardsMakeOneWhole) {
  put("1.safetensors", shard({"a", "b"}, 'x'));
  put("2.safetensors", shard({"c"}, 'y'));
  put_index(R"({"a":"1.safetensors","b":"1.safetensors","c":"2.safetensors"})");
  const TensorFile file = read();
  ASSERT_EQ(file.tensors.size(), 3u);
  EXPECT_EQ(file.name, (folder_ / "model.safetensors.index.json").string());
  EXPECT_EQ(file.format, "safetensors");
  EXPECT_EQ(file.metadata.at("format"), "pt");
  EXPECT_EQ(test::values_of<char>(file.tensors.at("b")), std::vector<char>{'x'});
  EXPECT_EQ(test::values_of<char>(file.tensors.at("c")), std::vector<char>{'y'});
  EXPECT_EQ(file.owners.size(), 2u);
}

TEST_F(WeightsFolder, TheIndexCannotLeadOut) {
  put("secret", shard({"a"}));
  for (const std::string name :
       {"../secret", "/etc/passwd", "sub/secret", "..", ".", "", "a\\\\b", "se\\u0000cret"}) {
    put_index(R"({"a":")" + name + R"("})");
    expect_mentions(refused(), {"index.json", "plain file name"});
  }
}

TEST_F(WeightsFolder, TheIndexAndTheShardsAgree) {
  put("1.safetensors", shard({"a"}));
  put("2.safetensors", shard({"a", "b"}));
  put_index(R"({"a":"1.safetensors","z":"1.safetensors"})");
  expect_mentions(refused(), {"index.json", "\"z\"", "1.safetensors"});
  put_index(R"({"a":"1.safetensors","b":"2.safetensors"})");
  expect_mentions(refused(), {"2.safetensors", "\"a\"", "another shard"});
  put_index(R"({"a":"3.safetensors"})");
  expect_mentions(refused(), {"index.json", "3.safetensors"});
  put_index(R"({"a":")" + std::string(5000, 'n') + R"("})");
  expect_mentions(refused(), {"index.json", "not in the folder"});
}

TEST_F(WeightsFolder, ABrokenIndexIsRefused) {
  for (const std::string index :
       {"", "[]", "{}", "null", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})",
        R"({"weight_map":{"a":"1","a":"2"}})", R"({"weight_map":{)", "{\"\xff\":1}"}) {
    put("model.safetensors.index.json", index);
    expect_mentions(refused(), {"index.json"});
  }
  put("model.safetensors.index.json", std::string(1'000'000, '['));
  expect_mentions(refused(), {"index.json", "deep"});
}

TEST_F(WeightsFolder, NameKindsThatAreNoFiles) {
  std::filesystem::create_directory(folder_ / "model.safetensors");
  expect_mentions(refused(), {"model.safetensors", "folder"});
}

TEST(WeightsFolders, OfficialFoldersAndControl) {
  EXPECT_EQ(read_weights_folder(test::fixtures() / "tiny-siso").format, "torch");
  EXPECT_EQ(read_weights_folder(test::fixtures() / "bad" / "good-checkpoint").tensors.size(), 11u);
  expect_mentions(refusal([] { read_weights_folder(test::fixtures() / "bad" / "no-weights-checkpoint"); }),
                  {"no weights"});
}

}  // namespace
}  // namespace mamba3
