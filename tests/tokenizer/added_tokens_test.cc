// Added tokens and their flags, as Hugging Face's tokenizers library treats them.
#include <gtest/gtest.h>

#include "tiny.h"

namespace mamba3::test {
namespace {

using Ids = std::vector<TokenId>;

Tokenizer with(const std::vector<json>& tokens) {
  json file = tiny_json();
  file["added_tokens"] = tokens;
  return load(file);
}

TEST(AddedTokens, LeftmostThenLongest) {
  const auto tokenizer = with({added("<a", 300), added("<a>", 301), added("a>b", 302), added("<", '<')});
  EXPECT_EQ(tokenizer.encode("<a>b"), (Ids{301, 'b'}));
  EXPECT_EQ(tokenizer.encode("<<a<b"), (Ids{'<', 300, '<', 'b'}));
  EXPECT_EQ(tokenizer.encode("xa>b<"), (Ids{'x', 302, '<'}));
}

TEST(AddedTokens, SpacesBeforeAndAfter) {
  const auto tokenizer = with({added("<l>", 300, {{"lstrip", true}}), added("<r>", 301, {{"rstrip", true}})});
  EXPECT_EQ(tokenizer.encode("a \u2003\n<l> b"), (Ids{'a', 300, ' ', 'b'}));
  EXPECT_EQ(tokenizer.encode("a <r> \u00a0\tb"), (Ids{'a', ' ', 301, 'b'}));
  EXPECT_EQ(tokenizer.encode("<r>  <l>"), (Ids{301, 300})) << "the first takes the spaces";
}

TEST(AddedTokens, SpacesAreTakenOnce) {
  const json both = {{"lstrip", true}, {"rstrip", true}};
  EXPECT_EQ(with({added("  ", 300, both)}).encode("a      b"), (Ids{'a', 300, 'b'}));
  EXPECT_EQ(with({added(" ", 300, {{"lstrip", true}}), added("x", 'x', {{"rstrip", true}})}).encode("x   b"),
            (Ids{'x', 'b'}));
}

TEST(AddedTokens, SingleWords) {
  const auto tokenizer = with({added("cat", 300, {{"single_word", true}})});
  EXPECT_EQ(tokenizer.encode("cat,cat"), (Ids{300, ',', 300}));
  EXPECT_EQ(tokenizer.encode("cats"), (Ids{'c', 'a', 't', 's'}));
  EXPECT_EQ(tokenizer.encode("écat").size(), 5) << "é is a word character";
  EXPECT_EQ(tokenizer.encode("\u2014cat").back(), 300);
}

TEST(AddedTokens, NormalizedOnesComeSecond) {
  const auto tokenizer = with({added("<ab", 300, {{"normalized", true}}), added("b>", 301)});
  EXPECT_EQ(tokenizer.encode("<ab>"), (Ids{'<', 'a', 301}));
  EXPECT_EQ(tokenizer.encode("<ab<"), (Ids{300, '<'}));
}

TEST(AddedTokens, Decoding) {
  const auto tokenizer = with({added("<s>", 300, {{"special", true}}), added("漢 字", 301)});
  const Ids ids = {300, 'a', 301};
  EXPECT_EQ(tokenizer.decode(ids), "<s>a漢 字");
  EXPECT_EQ(tokenizer.decode(ids, true), "a漢 字");
  EXPECT_EQ(tokenizer.id_of("漢 字"), 301);
  EXPECT_EQ(tokenizer.id_of("Ġthe"), 258);
  EXPECT_EQ(tokenizer.id_of("nothing"), std::nullopt);
  EXPECT_EQ(tokenizer.vocab_size(), 302);
  EXPECT_EQ(tokenizer.bytes_of(258), " the");
  EXPECT_EQ(tokenizer.bytes_of(299), "") << "a gap";
  for (const TokenId id : {-1, 302, 1 << 30}) {
    EXPECT_THROW(tokenizer.bytes_of(id), Error);
    EXPECT_THROW(tokenizer.is_special(id), Error);
    EXPECT_THROW(tokenizer.decode(Ids{id}), Error);
  }
}

TEST(AddedTokens, Refusals) {
  const auto message = [](const std::vector<json>& tokens) {
    json file = tiny_json();
    file["added_tokens"] = tokens;
    return refusal(file.dump());
  };
  EXPECT_EQ(message({added("<a>", 300), added("<a>", 300)}), "");
  EXPECT_NE(message({added("<a>", 300), added("<b>", 300)}).find("same id 300"), std::string::npos);
  EXPECT_NE(message({added("<a>", 300), added("<a>", 301)}).find("two ids"), std::string::npos);
  EXPECT_NE(message({added("the", 300)}).find("contradicts"), std::string::npos);
  EXPECT_NE(message({added("<a>", 97)}).find("contradicts"), std::string::npos);
  EXPECT_NE(message({added("<a>", 2'000'000'000)}).find("2000000000"), std::string::npos);
  EXPECT_NE(message({added("<a>", -1)}).find("-1"), std::string::npos);
  EXPECT_NE(message({added("<a>", 300, {{"lstrip", "yes"}})}).find("added_tokens[0].lstrip"),
            std::string::npos);
  EXPECT_NE(message({added("<a>", 300, {{"id", "300"}})}).find("added_tokens[0].id"), std::string::npos);
  EXPECT_NE(message({added(std::string(5000, 'a'), 300)}).find("5000"), std::string::npos);
}

}  // namespace
}  // namespace mamba3::test
