// Checking and repairing UTF-8, and text that comes token by token.
#include "core/utf8.h"

#include <gtest/gtest.h>

#include "tiny.h"

namespace mamba3::test {
namespace {

std::string lossy(std::string bytes) {
  std::string text = take_utf8(bytes);
  if (!bytes.empty()) text += kReplacementCharacter;
  return text;
}

TEST(Utf8, ReplacesMaximalParts) {
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(lossy("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), "aé€😀");
  EXPECT_EQ(lossy("\xf0\x9f\x98"
                  "a"),
            r + "a")
      << "three bytes of four";
  EXPECT_EQ(lossy("\xe2\x82\xe2\x82\xac"), r + "€");
  EXPECT_EQ(lossy("\xc0\xaf"), r + r) << "overlong";
  EXPECT_EQ(lossy("\xe0\x80\xaf"), r + r + r);
  EXPECT_EQ(lossy("\xed\xa0\x80"), r + r + r) << "a surrogate";
  EXPECT_EQ(lossy("\xf4\x90\x80\x80"), r + r + r + r) << "above U+10FFFF";
  EXPECT_EQ(lossy("\xff\xfe"), r + r);
  EXPECT_EQ(lossy("\xf0\x9f"), r) << "the end";
}

TEST(Utf8, FindsTheFirstFault) {
  EXPECT_EQ(find_invalid_utf8("plain text of more than eight bytes, é and 漢"), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("12345678901234567\x80"), 17);
  EXPECT_EQ(find_invalid_utf8("é\xe2\x82"), 2);
  EXPECT_THROW(check_utf8("\xed\xbf\xbf", "the name"), Error);
  EXPECT_NO_THROW(check_utf8("", "the name"));
}

TEST(Utf8, EveryCodePointComesBack) {
  for (char32_t code = 0; code <= 0x10ffff; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    std::string text;
    append_utf8(text, code);
    const Utf8Char found = first_utf8(text);
    ASSERT_EQ(found.kind, Utf8Char::Kind::valid);
    ASSERT_EQ(found.length, text.size());
    ASSERT_EQ(found.code, code);
  }
}

TEST(ByteLetters, AreAsGpt2HasThem) {
  EXPECT_EQ(spell_bytes(" a\n\x7f\xa0\xad\xff"), "ĠaĊġłŃÿ");
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all.push_back(static_cast<char>(byte));
  EXPECT_EQ(unspell_bytes(spell_bytes(all)), all);
  EXPECT_EQ(unspell_bytes("a b"), std::nullopt);
  EXPECT_EQ(unspell_bytes("漢"), std::nullopt);
}

TEST(TextStream, EmitsWholeCharacters) {
  const auto tokenizer = load(tiny_json());
  TextStream stream(tokenizer);
  EXPECT_EQ(stream.push('a'), "a");
  EXPECT_EQ(stream.push(0xf0), "");
  EXPECT_EQ(stream.push(0x9f), "");
  EXPECT_EQ(stream.push(0x98), "");
  EXPECT_EQ(stream.pending(), "\xf0\x9f\x98");
  EXPECT_EQ(stream.push(0x80), "😀");
  EXPECT_EQ(stream.push(0xe2), "");
  EXPECT_EQ(stream.push(258), "\xef\xbf\xbd the") << "it can no longer be completed";
  EXPECT_EQ(stream.push(0xff), "\xef\xbf\xbd");
  EXPECT_EQ(stream.push(0xc3), "");
  TextStream other(tokenizer);
  other.resume(stream.pending());
  EXPECT_EQ(other.push(0xa9), "é");
  EXPECT_EQ(stream.finish(), "\xef\xbf\xbd");
  EXPECT_EQ(stream.finish(), "");
}

TEST(TextStream, SkipsSpecialTokens) {
  json file = tiny_json();
  file["added_tokens"] = json::array({added("<s>", 300, {{"special", true}})});
  TextStream skipping(load(file), true);
  EXPECT_EQ(skipping.push(300), "");
  TextStream keeping(load(file), false);
  EXPECT_EQ(keeping.push(300), "<s>");
}

}  // namespace
}  // namespace mamba3::test
