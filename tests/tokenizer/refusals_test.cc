// tokenizer.json files that must be refused, each in a sentence that names what is wrong.
#include <gtest/gtest.h>

#include <tuple>

#include "tiny.h"

namespace mamba3::test {
namespace {

TEST(Refusals, NamesWhatIsNotBuilt) {
  const std::vector<std::tuple<std::string, json, std::string>> cases = {
      {"/normalizer", {{"type", "NFC"}}, "NFC"},
      {"/normalizer", sequence("normalizers", {{{"type", "Lowercase"}}}), "Lowercase"},
      {"/pre_tokenizer", {{"type", "Metaspace"}}, "Metaspace"},
      {"/pre_tokenizer", nullptr, "ByteLevel"},
      {"/pre_tokenizer", sequence("pretokenizers", {byte_level(false, true), byte_level(false, true)}),
       "more than once"},
      {"/pre_tokenizer", split("a", "Sideways"), "Sideways"},
      {"/post_processor", {{"type", "Mystery"}}, "Mystery"},
      {"/decoder", {{"type", "WordPiece"}}, "WordPiece"},
      {"/model/byte_fallback", true, "byte_fallback"},
      {"/model/dropout", 0.1, "0.1"},
      {"/model/continuing_subword_prefix", "##", "##"},
      {"/model/end_of_word_suffix", "</w>", "</w>"},
      {"/model/type", "Unigram", "Unigram"},
  };
  for (const auto& [where, value, mention] : cases) {
    json file = tiny_json();
    file[json::json_pointer(where)] = value;
    EXPECT_NE(refusal(file.dump()).find(mention), std::string::npos) << where << ": " << refusal(file.dump());
  }
}

TEST(Refusals, AcceptsWhatChangesNothing) {
  json file = tiny_json();
  file["normalizer"] = sequence("normalizers", {});
  file["decoder"] = nullptr;
  file["model"].update(
      {{"dropout", 0.0}, {"continuing_subword_prefix", ""}, {"end_of_word_suffix", nullptr}});
  file["model"].erase("type");
  file["truncation"] = {{"max_length", 1}};
  EXPECT_EQ(refusal(file.dump()), "");
}

TEST(Refusals, WrongTypesAnywhere) {
  const std::vector<std::string> places = {
      "/added_tokens",    "/pre_tokenizer",    "/pre_tokenizer/type", "/pre_tokenizer/use_regex",
      "/post_processor",  "/decoder",          "/decoder/type",       "/model",
      "/model/type",      "/model/vocab",      "/model/vocab/a",      "/model/merges",
      "/model/merges/0",  "/model/merges/0/1", "/normalizer",         "/model/ignore_merges",
      "/model/unk_token", "/model/fuse_unk"};
  for (const std::string& place : places) {
    for (const json& value : {json(7.5), json({{"k", 1}}), json({{1}})}) {
      json file = tiny_json();
      if (place == "/model/unk_token") file["model"]["vocab"].erase("x");
      file[json::json_pointer(place)] = value;
      EXPECT_NE(refusal(file.dump()), "") << place << " = " << value;
    }
  }
  for (const char* text :
       {"", "null", "7", "[]", "{}", "{\"model\": null}", "\"model\"", "{\"model\": {}}"}) {
    EXPECT_NE(refusal(text), "") << text;
  }
}

TEST(Refusals, EveryTruncation) {
  const std::string whole = tiny_json().dump();
  for (std::size_t size = 0; size < whole.size(); size += 7)
    EXPECT_NE(refusal(whole.substr(0, size)), "") << size;
}

TEST(Refusals, Ids) {
  const auto message = [](const json& id) {
    json file = tiny_json();
    file["model"]["vocab"]["zz"] = id;
    return refusal(file.dump());
  };
  EXPECT_NE(message(-1).find("-1"), std::string::npos);
  EXPECT_NE(message(1LL << 31).find("zz is 2147483648"), std::string::npos);
  EXPECT_NE(message(18446744073709551615ULL).find("18446744073709551615"), std::string::npos);
  EXPECT_NE(message(1.5).find("1.5"), std::string::npos);
  EXPECT_NE(message("1").find("\"1\""), std::string::npos);
  EXPECT_NE(message(7).find("same id 7"), std::string::npos);
  EXPECT_EQ(message(60000), "") << "gaps are allowed";
}

TEST(Refusals, Merges) {
  const auto message = [](const json& merges) {
    json file = tiny_json();
    file["model"]["merges"] = merges;
    return refusal(file.dump());
  };
  EXPECT_NE(message(json::array({{"t", "h"}, {"th", "qq"}})).find("merges[1] uses the token qq"),
            std::string::npos);
  EXPECT_NE(message(json::array({{"q", "q"}})).find("gives the token qq"), std::string::npos);
  EXPECT_NE(message({"t h", "th"}).find("merges[1]"), std::string::npos);
  EXPECT_NE(message({"t h e"}).find("t h e"), std::string::npos);
  EXPECT_NE(message(json::array({{"t", "h", "e"}})).find("merges[0]"), std::string::npos);
}

TEST(Refusals, Patterns) {
  for (const char* pattern : {"(a", "a)", "[a", "[a[b]", "[]", "[&&a]", "a**{2", "\\p{Nothing}", "(?<=a*)b",
                              "\\C", "\\", "[\\", "(?:a{60000}){60000}"}) {
    json file = tiny_json();
    file["pre_tokenizer"] = split(pattern);
    const std::string message = refusal(file.dump());
    EXPECT_NE(message.find("pre_tokenizer.pretokenizers[0].pattern.Regex"), std::string::npos)
        << pattern << message;
  }
}

TEST(Refusals, DeepNesting) {
  const std::string deep = std::string(1 << 20, '[');
  EXPECT_NE(refusal(deep).find("deep"), std::string::npos);
  EXPECT_NE(refusal("{\"model\": {\"vocab\": {\"a\": " + deep).find("expected an integer"),
            std::string::npos);
  json file = tiny_json();
  file["pre_tokenizer"] = split(std::string(100, '[') + "a" + std::string(100, ']'));
  EXPECT_NE(refusal(file.dump()).find("too deep"), std::string::npos);
}

TEST(Refusals, TwoVocabularies) {
  EXPECT_NE(refusal(R"({"model": {"vocab": {"a": 0}, "vocab": {"b": 1}, "merges": []}})").find("twice"),
            std::string::npos);
}

}  // namespace
}  // namespace mamba3::test
