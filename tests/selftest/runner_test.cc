// The runner must fail when a golden is not met, and say why when it cannot be run.
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "formats/tensor_file.h"
#include "mamba3/error.h"
#include "selftest/compare.h"
#include "selftest/layer_goldens.h"
#include "selftest/selftest.h"
#include "support.h"

namespace mamba3::selftest {
namespace {

const Options kReference{Impl::reference, Precision::f32, {}, {}};

Golden siso() {
  return read_golden(read_safetensors(test::fixtures() / "mixer-siso-t1.safetensors"));
}

/// Writes a copy of a golden whose bytes and `about` may be changed.
using Change = std::function<void(const std::string& tensor, std::span<std::byte> bytes)>;
void write_copy(const std::string& file, const std::filesystem::path& to, const Change& change,
                const std::string& without = "", std::string about = "") {
  const auto original = read_safetensors(test::fixtures() / file);
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, tensor] : original.tensors) {
    if (name != without) tensors.push_back({name, tensor.dtype, tensor.shape});
  }
  auto metadata = original.metadata;
  if (!about.empty()) metadata["about"] = about;
  write_safetensors(
      to, tensors,
      [&](std::size_t i, std::span<std::byte> out) {
        std::memcpy(out.data(), original.tensors.at(tensors[i].name).bytes.data(), out.size());
        if (change) change(tensors[i].name, out);
      },
      metadata);
}

std::string message_of(const std::function<void()>& work, ErrorCode code) {
  try {
    work();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return "";
}

void expect_mentions(const std::string& message, std::initializer_list<const char*> words) {
  for (const char* word : words)
    EXPECT_NE(message.find(word), message.npos) << message << "\nmisses " << word;
}

const TensorResult& result_of(const GoldenResult& result, const std::string& tensor) {
  for (const TensorResult& t : result.tensors) {
    if (t.tensor == tensor) return t;
  }
  throw std::out_of_range("no result for " + tensor);
}

TEST(Runner, FailsOnAWrongValueOfAnyOutput) {
  for (const std::string tensor : {"out", "state.theta", "state.h", "state.k", "state.x"}) {
    Golden golden = siso();
    golden.tensors.at(tensor).values.back() += 0.01;
    const auto result = run_golden(golden, kReference);
    EXPECT_FALSE(result.passed()) << tensor;
    EXPECT_FALSE(result_of(result, tensor).passed());
    EXPECT_NE(to_text(result).find("FAILED"), std::string::npos);
  }
}

TEST(Runner, FailsOnAWrongFile) {
  const test::TemporaryFolder folder;
  const auto path = folder / "mixer-wrong.safetensors";
  write_copy("mixer-siso-t1.safetensors", path, {});
  EXPECT_TRUE(run_golden(path, kReference).passed());
  write_copy("mixer-siso-t1.safetensors", path, [](const std::string& tensor, std::span<std::byte> bytes) {
    const float wrong = 3;
    if (tensor == "out") std::memcpy(bytes.data(), &wrong, sizeof wrong);
  });
  EXPECT_FALSE(run_golden(path, kReference).passed());
}

TEST(Runner, FailsOnNaNInGoldenAndInput) {
  Golden golden = siso();
  golden.tensors.at("state.theta").values[0] = NAN;
  EXPECT_FALSE(run_golden(golden, kReference).passed());
  golden = siso();
  golden.tensors.at("u").values[0] = NAN;
  const auto result = run_golden(golden, kReference);
  EXPECT_FALSE(result_of(result, "out").passed());
  EXPECT_TRUE(std::isnan(result_of(result, "out").error));
}

TEST(Runner, FailsOnAnInfinity) {
  Golden golden = siso();
  golden.tensors.at("out").values[0] = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(run_golden(golden, kReference).passed());
}

TEST(Runner, NamesAMissingTensor) {
  const test::TemporaryFolder folder;
  const auto path = folder / "mixer-cut.safetensors";
  for (const char* tensor : {"out", "u", "state.h", "param.dt_bias"}) {
    write_copy("mixer-siso-t1.safetensors", path, {}, tensor);
    expect_mentions(message_of([&] { run_golden(path, kReference); }, ErrorCode::bad_format),
                    {"mixer-cut.safetensors", tensor, "missing"});
  }
}

TEST(Runner, NamesATensorOfAnotherShape) {
  for (const char* tensor : {"param.B_bias", "out", "state.k", "u"}) {
    Golden golden = siso();
    golden.tensors.at(tensor).shape.push_back(1);
    expect_mentions(message_of([&] { run_golden(golden, kReference); }, ErrorCode::bad_format),
                    {tensor, "expected"});
  }
}

TEST(Runner, RefusesPackingThatDoesNotFit) {
  for (const Values& bounds :
       {Values{0, 1, 60}, Values{1, 120}, Values{0, 50, 50, 120}, Values{0, 130}, Values{}}) {
    Golden golden = read_golden(read_safetensors(test::fixtures() / "mixer-siso-varlen-floor.safetensors"));
    golden.tensors["cu_seqlens"] = {{static_cast<std::int64_t>(bounds.size())}, bounds};
    expect_mentions(message_of([&] { run_golden(golden, kReference); }, ErrorCode::bad_format),
                    {"cu_seqlens"});
  }
}

TEST(Runner, RefusesWhatIsNoGolden) {
  const test::TemporaryFolder folder;
  const auto path = folder / "mixer-odd.safetensors";
  const auto refused = [&](const std::string& about, std::initializer_list<const char*> words) {
    write_copy("mixer-siso-t1.safetensors", path, {}, "", about);
    expect_mentions(message_of([&] { run_golden(path, kReference); }, ErrorCode::bad_format), words);
  };
  refused("not json", {"mixer-odd", "about"});
  refused("[]", {"mixer-odd", "about"});
  refused(R"({"config": {}})", {"mixer-odd", "kind"});
  refused(R"({"kind": "mixer", "config": []})", {"mixer-odd", "about"});
  refused(R"({"kind": "waltz", "config": {"d_model": 32, "headdim": 16, "d_state": 16}})",
          {"waltz", "mixer, scan"});
  expect_mentions(message_of([&] { run_golden(test::fixtures() / "bad" / "good.safetensors", kReference); },
                             ErrorCode::bad_format),
                  {"good.safetensors", "no golden"});
}

TEST(Runner, RefusesPrecisionsThatAreNotThere) {
  const auto refused = [&](Impl impl, Precision precision) {
    return message_of([&] { run({impl, precision, {}, {}}); }, ErrorCode::unsupported);
  };
  expect_mentions(refused(Impl::cpu, Precision::f64), {"cpu", "float64"});
  expect_mentions(refused(Impl::reference, Precision::bf16), {"reference", "bfloat16"});
}

TEST(Runner, SaysWhereACheckpointWasLookedFor) {
  const test::TemporaryFolder folder;
  const auto path = folder / "model-lost.safetensors";
  write_copy("model-tiny-siso.safetensors", path, {});
  expect_mentions(message_of([&] { run_golden(path, kReference); }, ErrorCode::not_found),
                  {"model-lost", "tiny-siso", "--models"});
  Options options = kReference;
  options.models = test::fixtures();
  EXPECT_TRUE(run_golden(path, options).passed());
  options.models = folder.path();  // not there, but where the golden says
  EXPECT_TRUE(run_golden(test::fixtures() / "model-tiny-siso.safetensors", options).passed());
  expect_mentions(message_of([&] { run_golden(path, options); }, ErrorCode::not_found), {"nor at"});
}

TEST(Runner, FailsOnWrongModelOutputs) {
  const auto changed = [&](const std::string& tensor, double by) {
    Golden golden = read_golden(read_safetensors(test::fixtures() / "model-tiny-siso.safetensors"));
    golden.tensors.at("prompt0." + tensor).values[0] += by;
    return run_golden(golden, kReference);
  };
  EXPECT_TRUE(changed("logits", 0).passed());
  for (const char* tensor : {"logits", "nll", "residual", "greedy_ids"}) {
    EXPECT_FALSE(changed(tensor, 1).passed()) << tensor;
  }
  EXPECT_EQ(message_of([&] { changed("ids", 1000); }, ErrorCode::bad_format).empty(), false);
  EXPECT_EQ(message_of([&] { changed("ids", 0.5); }, ErrorCode::bad_format).empty(), false);
}

TEST(Runner, AFolderIsRunToItsEnd) {
  const test::TemporaryFolder folder;
  message_of([&] { run({Impl::reference, Precision::f32, folder.path(), {}}); }, ErrorCode::not_found);
  write_copy("mixer-siso-t1.safetensors", folder / "mixer-a.safetensors", {});
  write_copy("model-tiny-siso.safetensors", folder / "model-b.safetensors", {});
  write_copy("step-siso.safetensors", folder / "step-c.safetensors", {});
  int heard = 0;
  const auto report =
      run({Impl::reference, Precision::f32, folder.path(), {}}, [&](const GoldenResult&) { ++heard; });
  ASSERT_EQ(report.goldens.size(), 3u);
  EXPECT_EQ(heard, 3);
  EXPECT_TRUE(report.goldens[0].passed());
  EXPECT_FALSE(report.goldens[1].passed());
  EXPECT_TRUE(report.goldens[2].passed());
  EXPECT_FALSE(report.passed());
  expect_mentions(to_text(report), {"mixer-a", "not run", "--models", "2 of 3 goldens passed"});
  const auto json = nlohmann::json::parse(to_json(report));
  EXPECT_EQ(json["passed"], false);
  EXPECT_EQ(json["goldens"].size(), 3u);
  EXPECT_EQ(json["goldens"][0]["tensors"][0]["tensor"], "out");
  EXPECT_TRUE(json["goldens"][1].contains("problem"));
}

TEST(Runner, NothingRunIsNoPass) {
  EXPECT_FALSE(Report{}.passed());
  EXPECT_FALSE(GoldenResult{}.passed());
  EXPECT_FALSE((TensorResult{"out", NAN, 1}.passed()));
}

/// The reference, except for one bit where several calls or steps are asked for.
class Unsteady : public Implementation {
 public:
  Values mixer(const Params& params, const Mamba3Config& config, const Values& u, const Calls& calls,
               State& state) const override {
    auto out = honest_->mixer(params, config, u, calls, state);
    if (calls.size() > 1 && !calls[1].by_steps) nudge(out);
    return out;
  }
  ScanOutput scan(const Params& params, const Mamba3Config& config, const ScanInput& input,
                  const Calls& calls, State& state) const override {
    auto found = honest_->scan(params, config, input, calls, state);
    if (calls.size() > 1) nudge(state.h);
    return found;
  }
  Values steps(const Params& params, const Mamba3Config& config, const Values& u,
               const std::vector<State>& start, std::vector<State>& after) const override {
    auto out = honest_->steps(params, config, u, start, after);
    if (start.size() == 1) nudge(out);  // a session alone
    return out;
  }
  std::unique_ptr<ModelUnderTest> open(const Checkpoint& checkpoint) const override {
    return honest_->open(checkpoint);
  }

 private:
  static void nudge(Values& values) {
    values.back() = std::nextafter(static_cast<float>(values.back()), std::numeric_limits<float>::max());
  }
  std::unique_ptr<Implementation> honest_ = make_reference<float>();
};

TEST(Runner, OneBitThatDependsOnTheCallsFails) {
  const auto failed_row = [](const char* file) -> std::string {
    const auto golden = read_golden(read_safetensors(test::fixtures() / file));
    EXPECT_TRUE(check_layer(*make_reference<float>(), golden, Precision::f32, true).passed());
    const auto result = check_layer(Unsteady(), golden, Precision::f32, true);
    std::string failed;
    for (const TensorResult& t : result.tensors) {
      if (!t.passed()) failed += t.tensor + "; ";
    }
    return failed;
  };
  EXPECT_EQ(failed_row("mixer-siso.safetensors"), "out (cut in calls); ");
  EXPECT_EQ(failed_row("scan-mimo-r4.safetensors"), "state.h (cut in calls); ");
  EXPECT_EQ(failed_row("step-siso.safetensors"), "out (sessions alone); ");
}

TEST(Runner, CallsCoverEveryToken) {
  for (std::int64_t tokens = 1; tokens < 140; ++tokens) {
    std::int64_t sum = 0;
    for (const auto& call : cut_in_calls(tokens)) {
      EXPECT_GT(call.tokens, 0);
      sum += call.tokens;
    }
    for (const auto& call : calls_and_steps(tokens)) sum += call.tokens;
    EXPECT_EQ(sum, 2 * tokens);
  }
  EXPECT_EQ(cut_in_calls(130).size(), 4u);
  EXPECT_TRUE(calls_and_steps(130)[1].by_steps);
}

TEST(Compare, AnglesAreComparedOnTheCircle) {
  const Array golden{{2}, {0.00001, 3}}, found{{2}, {2 * M_PI - 0.000001, 3}};
  EXPECT_NEAR(compare("state.theta", found, golden, Precision::f32).error, 1.1e-5, 1e-9);
  EXPECT_GT(compare("state.h", found, golden, Precision::f32).error, 1);
}

TEST(Compare, BitsAreBits) {
  EXPECT_EQ(same_bits("out", {{2}, {0.0, 1}}, {{2}, {-0.0, 1}}).error, 1);
  EXPECT_TRUE(same_bits("out", {{2}, {0.0, 1}}, {{2}, {0.0, 1}}).passed());
  EXPECT_FALSE(same_bits("out", {{1}, {NAN}}, {{1}, {NAN}}).passed());
  EXPECT_FALSE(compare("out", {{1}, {1}}, {{2}, {1, 1}}, Precision::bf16).passed());
}

}  // namespace
}  // namespace mamba3::selftest
