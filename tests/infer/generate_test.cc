// What the program's tests cannot reach: notes of other callers, changed options.
#include "infer/generate.h"

#include <nlohmann/json.hpp>

#include "mamba3/error.h"
#include "tiny_model.h"

namespace mamba3 {
namespace {

using nlohmann::json;

class GenerateTest : public testing::Test {
 protected:
  /// The text of `tokens` more tokens.
  static std::string text_of(Generator& generator, std::int64_t tokens) {
    std::string text;
    generator.run(tokens, [&](std::string_view piece) { text += piece; });
    return text + generator.finish();
  }

  /// Loads a state that was saved with this note.
  Generator load(const std::string& note) {
    Session session(model_);
    session.prefill(std::vector<TokenId>{0, 1, 2});
    session.save(folder_ / "s", note);
    return Generator::load(model_, folder_ / "s");
  }

  /// A note of our own.
  json note() {
    Generator generator(Session(model_), {});
    generator.read("ab");
    generator.save(folder_ / "s");
    std::string text;
    Session::load(model_, folder_ / "s", &text);
    return json::parse(text);
  }

  test::TinyModel files_;
  Model model_ = Model::load(files_.path());
  test::TemporaryFolder folder_;
};

TEST_F(GenerateTest, GoesOnFromAStateWithoutANote) {
  Generator loaded = load("");
  EXPECT_FALSE(text_of(loaded, 5).empty());
}

TEST_F(GenerateTest, RefusesNotesThatAreNotItsOwn) {
  const json good = note();
  EXPECT_NO_THROW(load(good.dump()));
  std::vector<std::string> bad = {"hello", "{}", "[1]", R"({"format": "mamba3 generate 2"})"};
  const auto change = [&](const char* path, json value) {
    json changed = good;
    changed[json::json_pointer(path)] = std::move(value);
    bad.push_back(changed.dump());
  };
  change("/recent", json::array({64}));
  change("/recent", json::array({-1}));
  change("/recent", "text");
  change("/pending", json::array({"x"}));
  change("/draws", 0.5);
  change("/stop", json::array({""}));
  change("/sampling/temperature", -1);
  change("/sampling/top_k", json());
  change("/held", 7);
  for (const std::string& text : bad) {
    try {
      load(text);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_format) << text;
      EXPECT_NE(std::string(error.what()).find((folder_ / "s").string()), std::string::npos) << error.what();
    }
  }
}

TEST_F(GenerateTest, ATextThatEndedGoesOnOnlyAfterMoreIsRead) {
  GenerateOptions options;
  options.sampling.temperature = 0;
  Generator first(Session(model_), options);
  first.read("The");
  const std::string whole = text_of(first, 30);
  ASSERT_GT(whole.size(), 3u);

  options.stop = {whole.substr(1, 2)};
  Generator stopped(Session(model_), options);
  stopped.read("The");
  EXPECT_EQ(text_of(stopped, 30), whole.substr(0, whole.find(options.stop[0])));
  EXPECT_EQ(text_of(stopped, 30), "");
  stopped.save(folder_ / "s");
  Generator loaded = Generator::load(model_, folder_ / "s");
  EXPECT_EQ(loaded.run(5, [](std::string_view) {}), StopReason::stop);
  loaded.read("more");
  EXPECT_FALSE(text_of(loaded, 5).empty());
}

TEST_F(GenerateTest, InterruptsBetweenTokens) {
  GenerateOptions options;
  options.ignore_end = true;
  Generator generator(Session(model_), options);
  generator.read("a");
  int asked = 0;
  const auto reason = generator.run(
      -1, [](std::string_view) {}, [&] { return ++asked > 7; });
  EXPECT_EQ(reason, StopReason::interrupt);
  EXPECT_EQ(generator.statistics().ids.size(), 7u);
}

}  // namespace
}  // namespace mamba3
