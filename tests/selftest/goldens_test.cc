// Every golden with every implementation and precision.
#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "selftest/selftest.h"
#include "support.h"

namespace mamba3::selftest {
namespace {

using Way = std::tuple<Impl, Precision>;
using GoldenRun = std::tuple<std::string, Way>;

const auto kWays = testing::Values(Way{Impl::reference, Precision::f64}, Way{Impl::reference, Precision::f32},
                                   Way{Impl::cpu, Precision::f32}, Way{Impl::cpu, Precision::bf16});

std::vector<std::string> golden_files() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(test::fixtures())) {
    const auto name = entry.path().filename().string();
    const bool here = name.find("classics") == name.npos;
    if (name.ends_with(".safetensors") && here) files.push_back(name);
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string test_name(const testing::TestParamInfo<GoldenRun>& info) {
  const auto& [file, way] = info.param;
  auto name = file.substr(0, file.find('.')) + "_" + std::string(name_of(std::get<0>(way))) + "_" +
              std::string(name_of(std::get<1>(way)));
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class GoldenFiles : public testing::TestWithParam<GoldenRun> {
 protected:
  static GoldenResult run_parameter(const std::filesystem::path& models) {
    const auto& [file, way] = GetParam();
    return run_golden(test::fixtures() / file, {std::get<0>(way), std::get<1>(way), {}, models});
  }
};

class ClassicModels : public GoldenFiles {};

TEST_P(GoldenFiles, AreMet) {
  const auto result = run_parameter({});
  EXPECT_TRUE(result.passed()) << to_text(result);
  EXPECT_GE(result.tensors.size(), 4u);
}

TEST_P(ClassicModels, AreMet) {
  MAMBA3_NEEDS_TEST_DATA(data);
  const auto result = run_parameter(data / "models");
  EXPECT_TRUE(result.passed()) << to_text(result);
  EXPECT_GE(result.tensors.size(), 10u);
}

INSTANTIATE_TEST_SUITE_P(Goldens, GoldenFiles, testing::Combine(testing::ValuesIn(golden_files()), kWays),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Goldens, ClassicModels,
                         testing::Combine(testing::Values("model-classics-siso-20m.safetensors",
                                                          "model-classics-mimo-20m.safetensors"),
                                          kWays),
                         test_name);

TEST(Goldens, OfEveryKindAreHere) {
  const auto files = golden_files();
  for (const std::string kind : {"mixer-siso", "mixer-mimo", "scan-", "step-", "model-tiny"}) {
    EXPECT_TRUE(std::any_of(files.begin(), files.end(), [&](const auto& f) { return f.rfind(kind, 0) == 0; }))
        << kind;
  }
  EXPECT_GE(files.size(), 29u);
}

class BuiltIn : public testing::TestWithParam<Way> {};

TEST_P(BuiltIn, SetIsMet) {
  const auto report = run({std::get<0>(GetParam()), std::get<1>(GetParam()), {}, {}});
  EXPECT_TRUE(report.passed()) << to_text(report);
  EXPECT_GE(report.goldens.size(), 20u);
}

std::string way_name(const testing::TestParamInfo<Way>& parameter) {
  const auto& [impl, precision] = parameter.param;
  return std::string(name_of(impl)) + "_" + std::string(name_of(precision));
}

INSTANTIATE_TEST_SUITE_P(Set, BuiltIn, kWays, way_name);

}  // namespace
}  // namespace mamba3::selftest
