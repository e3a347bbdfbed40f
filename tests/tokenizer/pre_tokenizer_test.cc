// How text is cut, as Hugging Face's tokenizers library cuts it (checked against version 0.23.3).
#include <gtest/gtest.h>

#include "tokenizer/pre_tokenizer.h"

#include "tiny.h"

namespace mamba3::test {
namespace {

using Strings = std::vector<std::string>;

Strings cut(const json& pre_tokenizer, std::string_view text) {
  const JsonNode node(pre_tokenizer, "tiny.json: pre_tokenizer");
  Matcher matcher;
  Pieces pieces;
  PreTokenizer(node).split(text, matcher, pieces);
  Strings found;
  for (std::size_t i = 0; i < pieces.spans.size(); ++i) found.emplace_back(pieces[i]);
  return found;
}

TEST(PreTokenizer, Gpt2) {
  EXPECT_EQ(cut(byte_level(false, true), "I'll pay 12.5  now\n"),
            (Strings{"I", "'ll", " pay", " 12", ".", "5", " ", " now", "\n"}));
  EXPECT_EQ(cut(byte_level(true, true), "I'LL"), (Strings{" I", "'", "LL"}));
  EXPECT_EQ(cut(byte_level(true, false), " kept"), Strings{" kept"});
  EXPECT_EQ(cut(byte_level(true, true), ""), Strings{});
}

TEST(PreTokenizer, SplitBehaviors) {
  const std::string text = "the-final--countdown";
  EXPECT_EQ(cut(split("-", "Removed"), text), (Strings{"the", "final", "countdown"}));
  EXPECT_EQ(cut(split("-", "Isolated"), text), (Strings{"the", "-", "final", "-", "-", "countdown"}));
  EXPECT_EQ(cut(split("-", "MergedWithPrevious"), text), (Strings{"the-", "final-", "-", "countdown"}));
  EXPECT_EQ(cut(split("-", "MergedWithNext"), text), (Strings{"the", "-final", "-", "-countdown"}));
  EXPECT_EQ(cut(split("-", "Contiguous"), text), (Strings{"the", "-", "final", "--", "countdown"}));
  EXPECT_EQ(cut(split("-", "Removed", true), text), (Strings{"-", "-", "-"}));
  EXPECT_EQ(cut(split(".", "Removed", false, "String"), "a.b"), (Strings{"a", "b"})) << "no pattern, a text";
}

TEST(PreTokenizer, EmptyMatchesMoveOn) {
  EXPECT_EQ(cut(split("\\d*"), "ab12c"), (Strings{"a", "b", "12", "c"}));
  EXPECT_EQ(cut(split("(?=\\p{Lu})"), "camelCaseÉté"), (Strings{"camel", "Case", "Été"}));
}

TEST(PreTokenizer, OthersByName) {
  const auto then_bytes = [](const json& first) {
    return sequence("pretokenizers", {first, byte_level(false, false)});
  };
  EXPECT_EQ(cut(then_bytes({{"type", "Digits"}, {"individual_digits", true}}), "a12²"),
            (Strings{"a", "1", "2", "²"}));
  EXPECT_EQ(cut(then_bytes({{"type", "Digits"}, {"individual_digits", false}}), "a12²b"),
            (Strings{"a", "12²", "b"}));
  EXPECT_EQ(cut(then_bytes({{"type", "Punctuation"}, {"behavior", "Contiguous"}}), "a.,$b"),
            (Strings{"a", ".,$", "b"}));
  EXPECT_EQ(cut(then_bytes({{"type", "Whitespace"}}), "a_b  c!?"), (Strings{"a_b", "c", "!?"}));
  EXPECT_EQ(cut(then_bytes({{"type", "WhitespaceSplit"}}), " a!\u2003b\n"), (Strings{"a!", "b"}));
  EXPECT_EQ(cut(then_bytes({{"type", "CharDelimiterSplit"}, {"delimiter", "|"}}), "a|b||c"),
            (Strings{"a", "b", "c"}));
}

TEST(PreTokenizer, StepsBehindByteLevelSeeLetters) {
  const json steps = sequence(
      "pretokenizers",
      {byte_level(false, true), split("Ġ", "MergedWithPrevious", false, "String")["pretokenizers"][0]});
  EXPECT_EQ(cut(steps, "a bé"), (Strings{"a", " ", "bé"}));
}

TEST(PreTokenizer, PiecesOfOneStepAreTheTextsOfTheNext) {
  const json steps =
      sequence("pretokenizers", {split("b", "MergedWithNext")["pretokenizers"][0],
                                 split("^.(?!$)")["pretokenizers"][0], byte_level(false, false)});
  EXPECT_EQ(cut(steps, "aabbaa"), (Strings{"a", "a", "b", "b", "aa"}));
}

// What PCRE2 by itself would read differently.
TEST(Oniguruma, Dialect) {
  EXPECT_EQ(cut(split("\\s", "Removed"), "a\u180e\u0085b"), (Strings{"a\u180e", "b"}))
      << "U+180E is no space";
  EXPECT_EQ(cut(split("[^\\S]", "Removed"), "a\u180e\u0085b"), (Strings{"a\u180e", "b"}));
  EXPECT_EQ(cut(split("\\w+"), "e\u0301-\u00b2"), (Strings{"e\u0301", "-", "\u00b2"}))
      << "marks belong to words";
  EXPECT_EQ(cut(split("\\d{1,3}+"), "12345 "), (Strings{"12345", " "})) << "no possessive interval";
  EXPECT_EQ(cut(split("x{,2}y", "Removed"), "axxyb"), (Strings{"a", "b"}));
  EXPECT_EQ(cut(split("(?:ab){2}?", "Removed"), "ababcab"), (Strings{"c", "a", "b"})) << "optional, not lazy";
  EXPECT_EQ(cut(split("[a-z&&[^aeiou]]+"), "strange"), (Strings{"str", "a", "ng", "e"}));
  EXPECT_EQ(cut(split("[^(\\s|[.,!]]+"), "(a|b) c.d"), (Strings{"(", "a", "|", "b)", " ", "c", ".", "d"}));
  EXPECT_EQ(cut(split("[^\\W\\d]+"), "ab1_"), (Strings{"ab", "1", "_"}));
  EXPECT_EQ(cut(split("\\h+", "Removed"), "xbadx"), (Strings{"x", "x"})) << "hexadecimal digits";
  EXPECT_EQ(cut(split("(?m:a.b)", "Removed"), "1a\nb2"), (Strings{"1", "2"}));
  EXPECT_EQ(cut(split("a.b", "Removed"), "1a\nb2"), Strings{"1a\nb2"});
  EXPECT_EQ(cut(split("^.", "Removed"), "ab\ncd"), (Strings{"b\n", "d"})) << "lines, not only texts, begin";
  EXPECT_EQ(cut(split("\\p{Han}+"), "漢、字"), (Strings{"漢", "、", "字"}))
      << "the script without its extensions";
  EXPECT_EQ(cut(split("\\u00e9"), "aéb"), (Strings{"a", "é", "b"}));
  EXPECT_EQ(cut(split("(?i:'s)", "Removed"), "a'\u017fb'Sc"), (Strings{"a", "b", "c"}));
  EXPECT_EQ(cut(split("[]a-]+", "Removed"), "x]-ay"), (Strings{"x", "y"}));
}

TEST(Oniguruma, CostlyPatternsAreStopped) {
  const auto tokenizer = load([] {
    json file = tiny_json();
    file["pre_tokenizer"] = split("(?:(?:a+)+)+b");
    return file;
  }());
  EXPECT_EQ(tokenizer.encode("aaab").size(), 3);
  try {
    tokenizer.encode(std::string(60, 'a') + "cb");
    FAIL() << "took all the steps";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_NE(std::string(error.what()).find("too costly"), std::string::npos) << error.what();
  }
}

TEST(Oniguruma, LongMatchesNeedNoStack) {
  json file = tiny_json();
  file["pre_tokenizer"] = split("(?:(a)|b)*c");
  const auto tokenizer = load(file);
  const std::string text = std::string(200'000, 'a') + "c";
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  try {
    tokenizer.encode(std::string(3 << 20, 'a') + "c");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported) << error.what();
  }
}

}  // namespace
}  // namespace mamba3::test
