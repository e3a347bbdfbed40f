// Every row of the fixtures' manifest of broken files.
#include <nlohmann/json.hpp>

#include "program.h"

namespace mamba3 {
namespace {

struct Row {
  std::string path;
  std::string kind;
  bool loads;
  std::vector<std::string> mentions;
};

std::vector<Row> rows() {
  std::vector<Row> found;
  const auto manifest = nlohmann::json::parse(test::read_file(test::fixtures() / "bad" / "manifest.json"));
  for (const auto& row : manifest.at("files")) {
    found.push_back({row.at("path"), row.at("kind"), row.at("loads"), row.at("mentions")});
  }
  return found;
}

void PrintTo(const Row& row, std::ostream* out) {
  *out << row.path;
}

class BadInput : public testing::TestWithParam<Row> {};

TEST_P(BadInput, IsRefusedByInfoAndRun) {
  const Row& row = GetParam();
  const std::string path = (test::fixtures() / "bad" / row.path).string();
  const auto checked = test::run({"info", path, "--check"});
  if (row.loads) {
    EXPECT_EQ(checked.exit, 0) << checked.err;
    return;
  }
  test::expect_refused(checked, row.mentions);
  if (row.kind == "checkpoint") test::expect_refused(test::run({"run", "-m", path, "-p", "a"}), {});
}

INSTANTIATE_TEST_SUITE_P(Manifest, BadInput, testing::ValuesIn(rows()), [](const auto& row) {
  std::string name = row.param.path;
  for (char& c : name) {
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  }
  return name;
});

}  // namespace
}  // namespace mamba3
