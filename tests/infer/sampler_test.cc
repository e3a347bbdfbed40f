#include "mamba3/sampler.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "core/error.h"

namespace mamba3 {
namespace {

const std::vector<float> kLogits = {1.0f, 3.0f, 2.0f, -1.0f, 2.5f};

// Every filter off, temperature 1.
SamplerOptions plain() {
  SamplerOptions options;
  options.temperature = 1;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  return options;
}

std::map<TokenId, double> frequencies(const SamplerOptions& options, int draws = 40'000) {
  Sampler sampler(options);
  std::map<TokenId, double> counts;
  for (int i = 0; i < draws; ++i) counts[sampler.sample(kLogits, 5)] += 1.0 / draws;
  return counts;
}

TEST(Sampler, TemperatureZeroTakesTheLikeliestAndTheFirstOfEquals) {
  SamplerOptions options = plain();
  options.temperature = 0;
  Sampler sampler(options);
  EXPECT_EQ(sampler.sample(kLogits, 5), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{1, 7, 7}, 3), 1);
}

TEST(Sampler, DrawsTheSoftmax) {
  double total = 0;
  for (const float l : kLogits) total += std::exp(l);
  for (const auto& [id, share] : frequencies(plain()))
    EXPECT_NEAR(share, std::exp(kLogits[id]) / total, 0.01);
}

TEST(Sampler, TemperatureBendsTheSoftmax) {
  SamplerOptions options = plain();
  options.temperature = 0.5f;
  double total = 0;
  for (const float l : kLogits) total += std::exp(2 * l);
  for (const auto& [id, share] : frequencies(options))
    EXPECT_NEAR(share, std::exp(2 * kLogits[id]) / total, 0.01);
}

TEST(Sampler, FiltersKeepTheLikeliest) {
  const auto kept = [](const SamplerOptions& options) {
    std::set<TokenId> ids;
    for (const auto& [id, share] : frequencies(options)) ids.insert(id);
    return ids;
  };
  SamplerOptions k = plain(), p = plain(), m = plain();
  k.top_k = 2;
  EXPECT_EQ(kept(k), (std::set<TokenId>{1, 4}));
  p.top_p = 0.5f;  // token 1 has 0.46, tokens 1 and 4 have 0.74
  EXPECT_EQ(kept(p), (std::set<TokenId>{1, 4}));
  p.top_p = 0;
  EXPECT_EQ(kept(p), (std::set<TokenId>{1}));
  m.min_p = 0.5f;  // e^-0.5 = 0.61 stays, e^-1 = 0.37 does not
  EXPECT_EQ(kept(m), (std::set<TokenId>{1, 4}));
}

TEST(Sampler, PaddingRowsAreNoCandidates) {
  SamplerOptions options = plain();
  options.temperature = 0;
  EXPECT_EQ(Sampler(options).sample(std::vector<float>{0, 1, 9}, 2), 1);
}

TEST(Sampler, PenaltyFallsOnRecentTokensOnly) {
  SamplerOptions options = plain();
  options.temperature = 0;
  options.repeat_penalty = 2;
  options.repeat_last = 2;
  Sampler sampler(options);
  sampler.accept(1);
  EXPECT_EQ(sampler.sample(kLogits, 5), 4);  // 3 / 2 < 2.5
  sampler.accept(4);
  EXPECT_EQ(sampler.sample(kLogits, 5), 2);
  sampler.accept(0);  // token 1 is forgotten
  EXPECT_EQ(sampler.sample(kLogits, 5), 1);
}

TEST(Sampler, TheSeedDecidesAndAResumedSamplerGoesOn) {
  SamplerOptions options = plain();
  options.seed = 7;
  Sampler whole(options), first(options);
  std::vector<TokenId> expected, found;
  for (int i = 0; i < 50; ++i) expected.push_back(whole.sample(kLogits, 5));
  for (int i = 0; i < 20; ++i) found.push_back(first.sample(kLogits, 5));
  Sampler second(options);
  second.resume(first.state());
  for (int i = 20; i < 50; ++i) found.push_back(second.sample(kLogits, 5));
  EXPECT_EQ(found, expected);
  options.seed = 8;
  Sampler other(options);
  std::vector<TokenId> different;
  for (int i = 0; i < 50; ++i) different.push_back(other.sample(kLogits, 5));
  EXPECT_NE(different, expected);
}

TEST(Sampler, RefusesOptionsOutOfRange) {
  const auto refused = [](auto change) {
    SamplerOptions options;
    change(options);
    EXPECT_THROW(Sampler{options}, Error);
  };
  refused([](SamplerOptions& o) { o.temperature = -1; });
  refused([](SamplerOptions& o) { o.temperature = std::numeric_limits<float>::quiet_NaN(); });
  refused([](SamplerOptions& o) { o.top_k = -1; });
  refused([](SamplerOptions& o) { o.top_p = 1.5f; });
  refused([](SamplerOptions& o) { o.min_p = -0.1f; });
  refused([](SamplerOptions& o) { o.repeat_penalty = 0; });
  refused([](SamplerOptions& o) { o.repeat_last = -1; });
}

}  // namespace
}  // namespace mamba3
