// A small model behind the C API, and what its failures look like.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "mamba3/mamba3.h"
#include "support.h"

namespace mamba3::test {

struct Free {
  void operator()(mamba3_model* p) const { mamba3_model_free(p); }
  void operator()(mamba3_session* p) const { mamba3_session_free(p); }
  void operator()(mamba3_sampler* p) const { mamba3_sampler_free(p); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

inline void expect_failure(mamba3_status expected, mamba3_status status, const std::string& word) {
  EXPECT_EQ(status, expected) << mamba3_last_error();
  EXPECT_NE(std::string(mamba3_last_error()).find(word), std::string::npos) << mamba3_last_error();
}

// A model of two layers with 64 rows and the tokens a, b, c, ab, abc.
class CApi : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::copy(fixtures() / "tiny-siso", folder_ / "model");
    std::filesystem::copy(fixtures() / "bad" / "good-tokenizer.json", folder_ / "model" / "tokenizer.json");
    path_ = (folder_ / "model").string();
    mamba3_model* model = nullptr;
    ASSERT_EQ(mamba3_model_load(path_.c_str(), &model), MAMBA3_OK) << mamba3_last_error();
    model_.reset(model);
  }

  Owned<mamba3_session> session() const {
    mamba3_session* session = nullptr;
    EXPECT_EQ(mamba3_session_new(model_.get(), &session), MAMBA3_OK) << mamba3_last_error();
    return Owned<mamba3_session>(session);
  }
  Owned<mamba3_sampler> sampler(const mamba3_sampler_options& options) const {
    mamba3_sampler* sampler = nullptr;
    EXPECT_EQ(mamba3_sampler_new(&options, &sampler), MAMBA3_OK) << mamba3_last_error();
    return Owned<mamba3_sampler>(sampler);
  }
  static std::vector<float> logits(mamba3_session* session) {
    const float* values = nullptr;
    size_t count = 0;
    EXPECT_EQ(mamba3_session_logits(session, &values, &count), MAMBA3_OK) << mamba3_last_error();
    return {values, values + count};
  }

  TemporaryFolder folder_;
  std::string path_;
  Owned<mamba3_model> model_;
  const std::vector<mamba3_token> ids_ = {0, 3, 1, 60, 2, 4, 17};
};

}  // namespace mamba3::test
