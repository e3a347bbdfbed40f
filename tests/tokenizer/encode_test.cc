// Merging, unknown bytes, long pieces, threads, and the spec's round trip.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "tiny.h"
#include "tokenizer/spec.h"
#include "tokenizer/write_json.h"

namespace mamba3::test {
namespace {

using Ids = std::vector<TokenId>;

TEST(Encode, MergesByRankThenFromTheLeft) {
  const auto tokenizer = load(tiny_json());
  EXPECT_EQ(tokenizer.encode("the the"), (Ids{257, 258}));
  EXPECT_EQ(tokenizer.encode("aaaaa"), (Ids{261, 'a'}));
  EXPECT_EQ(tokenizer.encode("than"), (Ids{256, 259}));
  EXPECT_EQ(tokenizer.encode("aan"), (Ids{'a', 259})) << "a n ranks before a a";
  EXPECT_EQ(tokenizer.encode(""), Ids{});
  EXPECT_EQ(tokenizer.encode(std::string_view("\0a", 2)), (Ids{0, 'a'}));
}

TEST(Encode, MergesMayBeStrings) {
  json file = tiny_json();
  file["model"]["merges"] = json::array({"#version: 0.2", "t h", "th e", "Ġ the"});
  EXPECT_EQ(load(file).encode("the the an"), (Ids{257, 258, ' ', 'a', 'n'}));
}

TEST(Encode, IgnoreMergesTakesWholePieces) {
  json file = tiny_json();
  file["model"]["vocab"]["zz"] = 262;
  EXPECT_EQ(load(file).encode("zz"), (Ids{'z', 'z'}));
  file["model"]["ignore_merges"] = true;
  EXPECT_EQ(load(file).encode("zz zzz"), (Ids{262, ' ', 'z', 'z', 'z'}));
}

TEST(Encode, BytesWithoutATokenAreUnknownOrSkipped) {
  json file = tiny_json();
  file["model"]["vocab"].erase("x");
  file["model"]["vocab"]["<unk>"] = 262;
  EXPECT_EQ(load(file).encode("axxn"), Ids{259}) << "what is skipped lets its neighbours meet";
  file["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(load(file).encode("axxnx"), (Ids{'a', 262, 262, 'n', 262}));
  file["model"]["fuse_unk"] = true;
  EXPECT_EQ(load(file).encode("axxnx"), (Ids{'a', 262, 'n', 262}));
}

TEST(Encode, LongPiecesTakeNoQuadraticTime) {
  const auto tokenizer = load(tiny_json());
  const auto start = std::chrono::steady_clock::now();
  const auto ids = tokenizer.encode(std::string(1 << 20, 'a'));
  EXPECT_EQ(ids, Ids(1 << 18, 261));
  EXPECT_EQ(tokenizer.encode(std::string(1 << 20, ' ') + "\n").size(), (1 << 20) + 1);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(Encode, RefusesWhatIsNotUtf8) {
  const auto tokenizer = load(tiny_json());
  try {
    tokenizer.encode("ab\xc3(");
    FAIL() << "was not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_STREQ(error.what(), "the text is not UTF-8: byte 0xC3 at offset 2");
  }
}

TEST(Encode, ThreadsShareATokenizer) {
  const auto tokenizer = load(tiny_json());
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "the anthem " + std::to_string(i) + " aaaa\n";
  const auto expected = tokenizer.encode(text);
  std::vector<Ids> found(4);
  std::vector<std::thread> threads;
  for (Ids& ids : found) threads.emplace_back([&] { ids = tokenizer.encode(text); });
  for (std::thread& thread : threads) thread.join();
  for (const Ids& ids : found) EXPECT_EQ(ids, expected);
}

TEST(Template, FramesTheText) {
  json file = tiny_json();
  file["added_tokens"] =
      json::array({added("<s>", 300, {{"special", true}}), added("</s>", 301, {{"special", true}})});
  const auto special = [](const char* name) {
    return json{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
  };
  const json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json ids = {{"<s>", {{"ids", {300}}}}, {"</s>", {{"ids", {301, 301}}}}};
  const json one = {{"type", "TemplateProcessing"},
                    {"single", {special("<s>"), text, special("</s>")}},
                    {"special_tokens", ids}};
  file["post_processor"] = one;
  EXPECT_EQ(load(file).encode("a"), (Ids{300, 'a', 301, 301}));
  EXPECT_EQ(load(file).encode("a", false), Ids{'a'});
  EXPECT_EQ(load(file).start_token(), 300);
  file["post_processor"] = sequence("processors", {byte_level(true, true), one, one});
  EXPECT_EQ(load(file).encode("a"), (Ids{300, 300, 'a', 301, 301, 301, 301}));
  file["post_processor"] = {{"type", "RobertaProcessing"}, {"cls", {"<s>", 300}}, {"sep", {"</s>", 301}}};
  EXPECT_EQ(load(file).encode(""), (Ids{300, 301}));
}

TEST(Spec, BehavesTheSameAfterARoundTrip) {
  json file = tiny_json();
  file["added_tokens"] = json::array({added("<x>", 300, {{"special", true}, {"lstrip", true}})});
  file["model"]["ignore_merges"] = true;
  const auto tokenizer = load(file);
  EXPECT_EQ(tokenizer.spec().settings.find("vocab"), std::string::npos);
  EXPECT_EQ(tokenizer.spec().tokens.size(), 262);
  EXPECT_EQ(tokenizer.spec().merges.size(), 6);
  const auto from_spec = Tokenizer::from_spec(tokenizer.spec(), "spec");
  const auto from_json = Tokenizer::from_json(tokenizer_json(tokenizer.spec()), "written.json");
  for (const char* text : {"the anthem", "a  <x>the", "\xf0\x9f\x98\x80 don't"}) {
    EXPECT_EQ(from_spec.encode(text), tokenizer.encode(text));
    EXPECT_EQ(from_json.encode(text), tokenizer.encode(text));
    EXPECT_EQ(from_spec.decode(tokenizer.encode(text)), tokenizer.decode(tokenizer.encode(text)));
  }
  EXPECT_EQ(from_spec.vocab_size(), 301);
}

TEST(Spec, RefusesContradictions) {
  const TokenizerSpec good = load(tiny_json()).spec();
  TokenizerSpec spec = good;
  spec.merges[2].second = 1000;
  EXPECT_THROW(Tokenizer::from_spec(spec, "spec"), Error);
  spec.merges[2].second = -1;
  EXPECT_THROW(Tokenizer::from_spec(spec, "spec"), Error);
  spec = good;
  spec.tokens[5] = "the";
  EXPECT_THROW(Tokenizer::from_spec(spec, "spec"), Error);
  spec = good;
  spec.tokens.push_back("\xff");
  EXPECT_THROW(Tokenizer::from_spec(spec, "spec"), Error);
  spec = good;
  spec.settings.pop_back();
  EXPECT_THROW(Tokenizer::from_spec(spec, "spec"), Error);
}

}  // namespace
}  // namespace mamba3::test
