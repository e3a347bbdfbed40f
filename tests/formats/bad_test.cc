// Every row of the fixtures' manifest of broken files.
#include <nlohmann/json.hpp>

#include "expect.h"
#include "formats/tensor_file.h"
#include "support.h"

namespace mamba3 {
namespace {

struct Row {
  std::string path;
  std::string kind;
  bool loads;
  std::string wrong;
  std::vector<std::string> mentions;
};

std::vector<Row> rows() {
  std::vector<Row> found;
  const auto manifest = nlohmann::json::parse(test::read_file(test::fixtures() / "bad" / "manifest.json"));
  for (const auto& row : manifest.at("files")) {
    const std::string kind = row.at("kind");
    if (kind != "safetensors" && kind != "torch") continue;
    found.push_back({row.at("path"), kind, row.at("loads"), row.at("wrong").is_null() ? "" : row.at("wrong"),
                     row.at("mentions")});
  }
  return found;
}

void PrintTo(const Row& row, std::ostream* out) {
  *out << row.path;
}

class BadFile : public testing::TestWithParam<Row> {};

TEST_P(BadFile, IsRefusedByNameAndTheControlLoads) {
  const Row& row = GetParam();
  const auto path = test::fixtures() / "bad" / row.path;
  const auto read = [&] { return row.kind == "torch" ? read_torch(path) : read_safetensors(path); };
  if (row.loads) {
    const TensorFile file = read();
    EXPECT_EQ(file.name, path.string());
    EXPECT_EQ(file.format, row.kind);
    EXPECT_EQ(test::floats_of(file.tensors.at("w")), (std::vector<float>{0, 1, 2, 3}));
  } else {
    const std::string message = test::refusal(read);
    test::expect_mentions(message, {path.string()});
    test::expect_mentions(message.substr(path.string().size()), row.mentions);
    RecordProperty("message", message);
  }
}

INSTANTIATE_TEST_SUITE_P(Manifest, BadFile, testing::ValuesIn(rows()), [](const auto& each) {
  std::string name = each.param.path;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
});

TEST(BadFiles, BothKindsAreThere) {
  EXPECT_GE(rows().size(), 25u);
}

}  // namespace
}  // namespace mamba3
