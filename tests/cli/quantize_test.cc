// mamba3 quantize, mamba3 imatrix, and models of types that cannot be run.
#include <cstring>
#include <nlohmann/json.hpp>

#include "program.h"
#include "tiny_model.h"

namespace mamba3 {
namespace {

using nlohmann::json;
using test::expect_refused;
using test::Finished;
using test::run;
using test::TinyModel;

class QuantizeCommand : public testing::Test {
 protected:
  const TinyModel model;
  const test::TemporaryFolder folder;
  const std::string target = (folder / "q.gguf").string(), imatrix = (folder / "imatrix.gguf").string();

  std::string text() const {
    const std::string path = (folder / "text").string();
    std::ofstream out(path);
    for (int i = 0; i < 400; ++i) out << static_cast<char>('a' + i * i % 26);
    return path;
  }
};

TEST_F(QuantizeCommand, WritesAModelAndSaysWhatBecameOfIt) {
  const Finished made = run({"quantize", model.path(), target, "--type", "q4_k_m", "--json"});
  ASSERT_EQ(made.exit, 0) << made.err;
  const json report = json::parse(made.out);
  EXPECT_EQ(report.at("type"), "q4_k_m");
  std::int64_t bytes = 0;
  for (const json& tensor : report.at("tensors")) {
    bytes += tensor.at("bytes").get<std::int64_t>();
    if (tensor.at("name") != "blk.0.ssm_in.weight") continue;
    EXPECT_EQ(tensor.at("to"), "Q5_0");
    EXPECT_EQ(tensor.at("wanted"), "Q4_K");
    EXPECT_GT(tensor.at("relative_rms"), 0.01);
  }
  EXPECT_EQ(report.at("bytes"), bytes);
  const json info = json::parse(run({"info", target, "--check", "--json"}).out);
  EXPECT_GT(info.at("dtypes").at("Q5_0").at("tensors"), 0);
  EXPECT_EQ(run({"run", "-m", target, "-p", "Hello", "-n", "5"}).exit, 0);

  const Finished again = run({"quantize", model.path(), target, "--type", "Q4_K_M", "--threads", "1"});
  EXPECT_EQ(again.exit, 0) << again.err;
  EXPECT_NE(again.out.find("Q4_K needs rows of 256"), std::string::npos) << again.out;
}

TEST_F(QuantizeCommand, UsesAnImportanceMatrix) {
  const Finished made = run({"imatrix", "-m", model.path(), "-f", text(), "-o", imatrix, "--window", "64"});
  ASSERT_EQ(made.exit, 0) << made.err;
  EXPECT_NE(made.out.find("6 chunks of 64"), std::string::npos) << made.out;
  ASSERT_EQ(run({"quantize", model.path(), target, "--type", "q4_0"}).exit, 0);
  const std::string without = test::read_file(target);
  const Finished with = run({"quantize", model.path(), target, "--type", "q4_0", "--imatrix", imatrix});
  ASSERT_EQ(with.exit, 0) << with.err;
  EXPECT_NE(test::read_file(target), without);

  const TinyModel other("tiny-mimo");
  expect_refused(run({"quantize", other.path(), target, "--type", "q4_0", "--imatrix", imatrix}),
                 {"imatrix.gguf"});
  expect_refused(run({"quantize", model.path(), target, "--type", "q4_0", "--imatrix", target}),
                 {"not an importance matrix"});
  expect_refused(run({"quantize", model.path(), target, "--type", "q4_0", "--imatrix", imatrix + "x"}),
                 {"imatrix.ggufx"});
}

TEST_F(QuantizeCommand, RefusesWhatItCannotDo) {
  expect_refused(run({"quantize", model.path(), target, "--type", "q3_k"}), {"--type", "q3_k"});
  expect_refused(run({"quantize", model.path(), target, "--type", "q4_1"}), {"--type", "q4_1"});
  expect_refused(run({"quantize", model.path(), target}), {"--type"});
  expect_refused(run({"quantize", model.path(), (folder / "q.bin").string(), "--type", "q8_0"}), {".gguf"});
  expect_refused(run({"quantize", model.path(), "/dev/full/q.gguf", "--type", "q8_0"}), {"/dev/full"});
  ASSERT_EQ(run({"quantize", model.path(), target, "--type", "q8_0"}).exit, 0);
  const std::string before = test::read_file(target);
  expect_refused(run({"quantize", target, target, "--type", "q4_0"}), {"Q8_0", "--allow-requantize"});
  EXPECT_EQ(test::read_file(target), before);
  EXPECT_EQ(run({"quantize", target, target, "--type", "q4_0", "--allow-requantize"}).exit, 0);
  expect_refused(run({"convert", model.path(), target, "--type", "q4_k"}),
                 {"--type q4_k", "mamba3 quantize"});
}

TEST_F(QuantizeCommand, RefusesTextsThatAreTooShortAndEmptyWindows) {
  expect_refused(run({"imatrix", "-m", model.path(), "-f", "-", "-o", imatrix}, "abc"), {"standard input"});
  expect_refused(run({"imatrix", "-m", model.path(), "-f", text(), "-o", imatrix, "--window", "0"}),
                 {"--window"});
  EXPECT_FALSE(std::filesystem::exists(imatrix));
}

TEST_F(QuantizeCommand, TilesRunAndAreTurnedBack) {
  const std::string rows = (folder / "rows.gguf").string(), back = (folder / "back.gguf").string();
  for (const char* command : {"quantize", "convert"}) {
    ASSERT_EQ(run({command, model.path(), rows, "--type", "q8_0", "--layout", "rows"}).exit, 0);
    ASSERT_EQ(run({command, model.path(), target, "--type", "q8_0", "--layout", "tiles"}).exit, 0);
    EXPECT_NE(test::read_file(target), test::read_file(rows));
    const Finished shown = run({"info", target, "--check"});
    EXPECT_EQ(shown.exit, 0) << shown.err;
    EXPECT_NE(shown.out.find("mamba3.layout = tiles16"), std::string::npos) << shown.out;
    EXPECT_NE(shown.out.find("in tiles"), std::string::npos) << shown.out;
    EXPECT_EQ(run({"info", rows}).out.find("in tiles"), std::string::npos);
    const auto text = [&](const std::string& path) {
      return run({"run", "-m", path, "-p", "Hello", "-n", "9", "--temp", "0"}).out;
    };
    EXPECT_EQ(text(target), text(rows));
    ASSERT_EQ(run({"convert", target, back, "--type", "q8_0"}).exit, 0);
    const json a = json::parse(run({"info", rows, "--json"}).out),
               b = json::parse(run({"info", back, "--json"}).out);
    EXPECT_EQ(a.at("tensors"), b.at("tensors"));
    EXPECT_EQ(text(back), text(rows));
  }
  const std::string other = (folder / "other").string();
  for (const char* wrong : {"columns", "0", "1", "Tiles"}) {
    expect_refused(run({"quantize", model.path(), target, "--type", "q8_0", "--layout", wrong}),
                   {"--layout", wrong, "rows", "tiles"});
  }
  expect_refused(run({"convert", model.path(), other, "--layout", "tiles"}), {"--layout", ".gguf"});
  EXPECT_FALSE(std::filesystem::exists(other));
}

TEST_F(QuantizeCommand, TypesThatCannotBeRunAreListedAndNamed) {
  ASSERT_EQ(run({"quantize", model.path(), target, "--type", "q8_0"}).exit, 0);
  std::string bytes = test::read_file(target);
  const std::string name = "blk.1.ssm_out.weight";
  const std::size_t type_at = bytes.find(name) + name.size() + 4 + 2 * 8;  // two axes
  const std::uint32_t iq4_nl = 20;
  std::memcpy(bytes.data() + type_at, &iq4_nl, sizeof iq4_nl);
  std::ofstream(target, std::ios::binary) << bytes;

  const Finished listed = run({"info", target});
  EXPECT_EQ(listed.exit, 0) << listed.err;
  for (const char* word : {"GGUF model", "IQ4_NL", "blk.1.ssm_out.weight", "token_embd.weight"}) {
    EXPECT_NE(listed.out.find(word), std::string::npos) << word << " in " << listed.out;
  }
  expect_refused(run({"run", "-m", target, "-p", "a"}), {name, "IQ4_NL", "Q4_K", "Q8_0", "BF16"});
}

}  // namespace
}  // namespace mamba3
