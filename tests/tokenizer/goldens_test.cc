// The ids that Hugging Face's tokenizers and tiktoken give.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "mamba3/error.h"
#include "mamba3/tokenizer.h"
#include "support.h"
#include "tokenizer/spec.h"

namespace mamba3 {
namespace {

using nlohmann::json;
using Ids = std::vector<TokenId>;

void expect_decoded(const Tokenizer& tokenizer, const Ids& ids, bool skip_special,
                    const std::string& expected) {
  EXPECT_EQ(tokenizer.decode(ids, skip_special), expected);
  TextStream stream(tokenizer, skip_special);
  std::string streamed;
  for (const TokenId id : ids) streamed += stream.push(id);
  EXPECT_EQ(streamed + stream.finish(), expected);
}

TEST(Goldens, Classics) {
  MAMBA3_NEEDS_TEST_DATA(data);
  const auto tokenizer = Tokenizer::from_file(data / "models/classics-siso-20m/tokenizer.json");
  const auto again = Tokenizer::from_spec(tokenizer.spec(), "spec");
  const json file = json::parse(test::read_file(test::fixtures() / "tokenizer-cases.json"));
  ASSERT_EQ(file["cases"].size(), 260);
  for (const json& row : file["cases"]) {
    const auto text = row["text"].get<std::string>();
    SCOPED_TRACE(row.dump());
    EXPECT_EQ(tokenizer.encode(text), row["ids"].get<Ids>());
    EXPECT_EQ(again.encode(text), row["ids"].get<Ids>());
    const auto decoded = row.value("decoded", text);
    expect_decoded(tokenizer, row["ids"], false, decoded);
    expect_decoded(tokenizer, row["ids"], true, row.value("decoded_skip_special", decoded));
  }
  for (const json& row : file["decode_cases"]) {
    SCOPED_TRACE(row.dump());
    expect_decoded(tokenizer, row["ids"], false, row["decoded"]);
  }
  EXPECT_EQ(tokenizer.start_token(), 0);
  EXPECT_EQ(tokenizer.end_tokens(), Ids{0});
  EXPECT_EQ(tokenizer.vocab_size(), 8192);
}

TEST(Goldens, Llama3) {
  MAMBA3_NEEDS_TEST_DATA(data);
  const auto tokenizer = Tokenizer::from_file(data / "fixtures/tokenizer-llama3-excerpt.json");
  const json file = json::parse(test::read_file(data / "fixtures/tokenizer-cases-llama3.json"));
  int compared = 0;
  for (const json& row : file["cases"]) {
    if (row.value("needs_full_vocabulary", false)) continue;
    SCOPED_TRACE(row.dump());
    Ids ids = row["ids"];
    EXPECT_EQ(tokenizer.encode(row["text"].get<std::string>(), false), ids);
    EXPECT_EQ(tokenizer.decode(ids), row["text"].get<std::string>());
    ids.insert(ids.begin(), 128000);
    EXPECT_EQ(tokenizer.encode(row["text"].get<std::string>()), ids);
    ++compared;
  }
  EXPECT_GT(compared, 250);
  EXPECT_EQ(tokenizer.start_token(), 128000);
  EXPECT_EQ(tokenizer.end_tokens(), (Ids{128001, 128009}));
  EXPECT_EQ(tokenizer.vocab_size(), 128256);
  EXPECT_TRUE(tokenizer.is_special(128009));
  EXPECT_FALSE(tokenizer.is_special(0));
}

TEST(Goldens, FilesToRefuse) {
  const json manifest = json::parse(test::read_file(test::fixtures() / "bad/manifest.json"));
  int seen = 0;
  for (const json& row : manifest["files"]) {
    if (row["kind"] != "tokenizer") continue;
    SCOPED_TRACE(row.dump());
    ++seen;
    const auto path = test::fixtures() / "bad" / row["path"].get<std::string>();
    if (row["loads"]) {
      EXPECT_EQ(Tokenizer::from_file(path).encode("abcab"), (Ids{4, 3}));
      continue;
    }
    try {
      Tokenizer::from_file(path);
      ADD_FAILURE() << "was not refused";
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(path.filename().string()), std::string::npos) << message;
      const std::string rest =
          message.substr(message.find(path.filename().string()) + path.filename().string().size());
      for (const json& word : row["mentions"]) EXPECT_NE(rest.find(word), std::string::npos) << message;
    }
  }
  EXPECT_EQ(seen, 6);
}

TEST(Goldens, MissingFile) {
  EXPECT_THROW(Tokenizer::from_file("/nowhere/tokenizer.json"), Error);
}

}  // namespace
}  // namespace mamba3
