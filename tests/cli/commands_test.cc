// eval ppl, tokenize, detokenize, info, convert and selftest on small inputs.
#include <cmath>
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

std::string tiny(const char* name) {
  return (test::fixtures() / name).string();
}

TEST(Eval, CountsDocumentsAndWindows) {
  const TinyModel model;
  // [0] a b c, [0] d e: 7 tokens; the empty document has none.
  const std::string text = "abc\n<|endoftext|>\n\n<|endoftext|>\nde";
  const Finished result =
      run({"eval", "ppl", "-m", model.path(), "-f", "-", "--window", "3", "--json"}, text);
  ASSERT_EQ(result.exit, 0) << result.err;
  const json object = json::parse(result.out);
  EXPECT_EQ(object.at("tokens"), 6);
  EXPECT_EQ(object.at("windows"), 2);
  EXPECT_EQ(object.at("bytes"), 5);  // the second start token is predicted and has no bytes
  const double nll = object.at("nll");
  EXPECT_NEAR(object.at("ppl"), std::exp(nll), 1e-9 * std::exp(nll));
  EXPECT_NEAR(object.at("bits_per_byte"), nll * 6 / std::log(2.0) / 5, 1e-9);
  const json first = json::parse(
      run({"eval", "ppl", "-m", model.path(), "-f", "-", "--window", "3", "--max-windows", "1", "--json"},
          text)
          .out);
  EXPECT_EQ(first.at("windows"), 1);
}

TEST(Eval, RefusesTextsItCannotMeasure) {
  const TinyModel model;
  const auto eval = [&](const std::string& text) {
    return run({"eval", "ppl", "-m", model.path(), "-f", "-", "--window", "8"}, text);
  };
  expect_refused(eval("abc"), {"standard input", "4 tokens", "9"});
  expect_refused(eval(""), {"0 tokens"});
  expect_refused(eval("abcdefghijk\xc3"), {"UTF-8"});
  expect_refused(run({"eval", "ppl", "-m", tiny("tiny-siso"), "-f", "-"}, "abc"), {"tokenizer"});
}

TEST(Eval, AgreesWithTheReferenceModels) {
  MAMBA3_NEEDS_TEST_DATA(data);
  const test::TemporaryFolder folder;
  const std::string text = (folder / "valid.txt").string();
  ASSERT_EQ(
      std::system(("xz -dc '" + (data / "corpus/valid.txt.xz").string() + "' > '" + text + "'").c_str()), 0);
  const auto nll = [&](const char* model) {
    const std::string path = (data / "models" / model).string();
    return json::parse(run({"eval", "ppl", "-m", path, "-f", text, "--max-windows", "8", "--json"}).out)
        .at("nll")
        .get<double>();
  };
  EXPECT_NEAR(nll("classics-siso-20m"), 3.752799, 2e-5);
  EXPECT_NEAR(nll("classics-mimo-20m"), 3.952666, 2e-5);
}

TEST(Tokenize, TurnsTextIntoIdsAndBack) {
  const TinyModel model;
  for (const std::string& path : {model.path(), model.path() + "/tokenizer.json"}) {
    EXPECT_EQ(run({"tokenize", "-m", path, "ab c"}).out, "1 2 53 3\n");
    EXPECT_EQ(run({"tokenize", "-m", path, "--json"}, "a\n<|endoftext|>").out, "{\"ids\":[1,54,0]}\n");
    EXPECT_EQ(run({"tokenize", "-m", path, ""}).out, "\n");
    EXPECT_EQ(run({"detokenize", "-m", path, "1", "2", "53", "0", "3"}).out, "ab <|endoftext|>c");
    EXPECT_EQ(run({"detokenize", "-m", path, "--skip-special", "1", "0", "3"}).out, "ac");
    EXPECT_EQ(run({"detokenize", "-m", path}, "[1, 2,\n55 56]").out, "ab\u00e9");
    EXPECT_EQ(run({"detokenize", "-m", path, "--json", "55"}).out, "{\"text\":\"\ufffd\"}\n");
    EXPECT_EQ(run({"detokenize", "-m", path}).out, "");
  }
}

TEST(Tokenize, RefusesBadInput) {
  const TinyModel model;
  expect_refused(run({"tokenize", "-m", model.path()}, "a\xfe"), {"UTF-8"});
  expect_refused(run({"tokenize", "-m", tiny("tiny-siso"), "a"}), {"tokenizer.json"});
  expect_refused(run({"tokenize", "-m", tiny("mixer-siso.safetensors"), "a"}), {"tokenizer"});
  expect_refused(run({"detokenize", "-m", model.path(), "1", "x2"}), {"x2"});
  expect_refused(run({"detokenize", "-m", model.path(), "1000"}), {"1000"});
  expect_refused(run({"detokenize", "-m", model.path()}, "1 -1"), {"-1"});
  expect_refused(run({"detokenize", "-m", model.path()}, "99999999999999999999"), {"99999999999999999999"});
}

TEST(Info, ShowsModels) {
  const json object = json::parse(run({"info", tiny("tiny-mimo"), "--check", "--json"}).out);
  EXPECT_EQ(object.at("check"), "sound");
  EXPECT_EQ(object.at("architecture").at("mimo_rank"), 2);
  EXPECT_EQ(object.at("architecture").at("norm"), "LayerNorm");
  EXPECT_EQ(object.at("architecture").at("vocab_rows"), 64);
  EXPECT_GT(object.at("state_bytes"), 0);
  std::int64_t elements = 0;
  for (const auto& type : object.at("dtypes")) elements += type.at("elements").get<std::int64_t>();
  EXPECT_EQ(object.at("parameters"), elements);

  const Finished text = run({"info", tiny("tiny-siso")});
  EXPECT_EQ(text.exit, 0) << text.err;
  for (const char* word : {"model folder (torch)", "parameters", "backbone.layers.1.mixer.in_proj.weight"}) {
    EXPECT_NE(text.out.find(word), std::string::npos) << word;
  }
}

TEST(Info, ShowsSingleFiles) {
  const TinyModel model;
  const auto kind = [](const std::string& path) {
    return json::parse(run({"info", path, "--check", "--json"}).out).at("kind").get<std::string>();
  };
  EXPECT_EQ(kind(tiny("mixer-siso-t1.safetensors")), "safetensors file");
  EXPECT_EQ(kind(tiny("tiny-siso/pytorch_model.bin")), "torch file");
  EXPECT_EQ(kind(model.path() + "/tokenizer.json"), "tokenizer");
}

TEST(Info, KeepsNamesFromTheTerminal) {
  const test::TemporaryFolder folder;
  const std::string header = R"({"a\u001b[2J":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  const std::string length = {static_cast<char>(header.size()), 0, 0, 0, 0, 0, 0, 0};
  std::ofstream(folder / "x.safetensors", std::ios::binary) << length << header << "x";
  const Finished result = run({"info", (folder / "x.safetensors").string()});
  EXPECT_EQ(result.exit, 0) << result.err;
  EXPECT_NE(result.out.find("a?[2J"), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find('\x1b'), std::string::npos);
}

TEST(Info, RefusesWhatIsNoneOfThese) {
  const test::TemporaryFolder folder;
  std::ofstream(folder / "notes.txt") << "nothing of the kind";
  std::ofstream(folder / "empty");
  expect_refused(run({"info", (folder / "notes.txt").string()}), {"notes.txt", "neither"});
  expect_refused(run({"info", (folder / "empty").string()}), {"empty", "neither"});
  expect_refused(run({"info", (folder / "none").string()}), {"none", "no such file"});
  expect_refused(run({"info", folder.path().string()}), {"config.json"});
  expect_refused(run({"info", "/dev/null"}), {"/dev/null"});
}

TEST(Info, NamesWhatIsNotBuilt) {
  const TinyModel model;
  const std::string config = test::read_file(model.path() + "/config.json");
  json changed = json::parse(config);
  changed["attn_layer_idx"] = {0};
  std::ofstream(model.path() + "/config.json") << changed;
  expect_refused(run({"run", "-m", model.path(), "-p", "a"}), {"attention"});
  changed = json::parse(config);
  changed["ssm_cfg"]["layer"] = "Mamba2";
  std::ofstream(model.path() + "/config.json") << changed;
  expect_refused(run({"run", "-m", model.path(), "-p", "a"}), {"Mamba2"});
}

TEST(Convert, KeepsWhatAModelSays) {
  const TinyModel model;
  const test::TemporaryFolder folder;
  const auto greedy = [](const std::string& path) {
    return run({"run", "-m", path, "-p", "Hello", "-n", "20", "--temp", "0", "--ignore-eos", "--exact"}).out;
  };
  const std::string gguf = (folder / "m.gguf").string(), copy = (folder / "copy").string();
  ASSERT_EQ(run({"convert", model.path(), gguf, "--type", "f32"}).exit, 0);
  ASSERT_EQ(run({"convert", gguf, copy, "--type", "f32"}).exit, 0);
  EXPECT_EQ(greedy(gguf), greedy(model.path()));
  EXPECT_EQ(greedy(copy), greedy(model.path()));
  for (const std::string& path : {gguf, copy}) EXPECT_EQ(run({"info", path, "--check"}).exit, 0);
  EXPECT_EQ(json::parse(run({"info", gguf, "--json"}).out).at("kind"), "GGUF model");
}

TEST(Convert, RefusesBadSourcesAndTargets) {
  const test::TemporaryFolder folder;
  const std::string target = (folder / "out.gguf").string();
  expect_refused(run({"convert", tiny("bad/nan-weights-checkpoint"), target}), {"out_proj.weight", "NaN"});
  EXPECT_FALSE(std::filesystem::exists(target));
  expect_refused(run({"convert", tiny("tiny-siso"), (folder / "none/out.gguf").string()}), {"none/out.gguf"});
  expect_refused(run({"convert", tiny("tiny-siso"), folder.path().string() + "/x", "--type", "q8_0"}),
                 {".gguf"});
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  std::filesystem::create_symlink("/dev/full", folder / "full.gguf");
  expect_refused(run({"convert", tiny("tiny-siso"), (folder / "full.gguf").string()}), {"no space left"});
  expect_refused(run({"convert", "--random", "no-such-shape", target}),
                 {"no-such-shape", "mamba3-siso-187m"});
  expect_refused(run({"convert", target}), {"SRC", "DST"});
  expect_refused(run({"convert", "a", "b", "--type", "q3"}), {"q3"});
}

TEST(Selftest, PassesGoldensAndFailsOthers) {
  const std::string golden = tiny("mixer-siso-t1.safetensors");
  for (const char* impl : {"cpu", "reference"}) {
    const Finished result =
        run({"selftest", golden, tiny("scan-siso.safetensors"), "--impl", impl, "--json"});
    EXPECT_EQ(result.exit, 0) << result.err << result.out;
    EXPECT_EQ(json::parse(result.out).at("goldens").size(), 2u);
  }
  const test::TemporaryFolder folder;
  std::string damaged = test::read_file(golden);
  damaged[damaged.size() - 2] ^= 0x40;  // the exponent of the last value
  for (std::size_t i = damaged.size() / 2; i < damaged.size(); i += 4) damaged[i + 2] ^= 0x40;
  std::ofstream(folder / "mixer-damaged.safetensors", std::ios::binary) << damaged;
  const Finished failed = run({"selftest", (folder / "mixer-damaged.safetensors").string()});
  EXPECT_EQ(failed.exit, 1);
  EXPECT_NE(failed.out.find("FAILED"), std::string::npos) << failed.out;
  expect_refused(run({"selftest", "--impl", "cpu", "--dtype", "f64"}), {"cpu", "float64"});
}

}  // namespace
}  // namespace mamba3
