// What the C API says to wrong calls.
#include <fstream>
#include <string>
#include <thread>

#include "fixture.h"

namespace mamba3::test {
namespace {

TEST_F(CApi, RefusesWrongTextsAndIds) {
  size_t count = 0;
  mamba3_token id = 0;
  expect_failure(MAMBA3_INVALID_ARGUMENT, mamba3_tokenize(model_.get(), "a\xff", 2, 0, nullptr, 0, &count),
                 "UTF-8");
  const mamba3_token outside = 5;
  expect_failure(MAMBA3_INVALID_ARGUMENT, mamba3_detokenize(model_.get(), &outside, 1, 0, nullptr, 0, &count),
                 "5");
  expect_failure(MAMBA3_NOT_FOUND, mamba3_start_token(model_.get(), &id), "start token");
  EXPECT_EQ(mamba3_is_end_token(model_.get(), 0), 0);

  const auto s = session();
  const float* values = nullptr;
  expect_failure(MAMBA3_INVALID_ARGUMENT, mamba3_session_logits(s.get(), &values, &count), "first token");
  for (const mamba3_token bad : {-1, 64}) {
    expect_failure(MAMBA3_INVALID_ARGUMENT, mamba3_session_step(s.get(), bad), std::to_string(bad));
    const mamba3_token ids[] = {0, bad};
    expect_failure(MAMBA3_INVALID_ARGUMENT, mamba3_session_prefill(s.get(), ids, 2), std::to_string(bad));
  }
  EXPECT_EQ(mamba3_session_position(s.get()), 0) << "a refused call moved the session";
  mamba3_sampler_options options = mamba3_sampler_defaults();
  options.top_p = 2;
  mamba3_sampler* none = nullptr;
  expect_failure(MAMBA3_INVALID_ARGUMENT, mamba3_sampler_new(&options, &none), "top_p");
  EXPECT_EQ(none, nullptr);
}

TEST_F(CApi, RefusesWrongBatchesAndRewinds) {
  const auto s = session(), t = session();
  mamba3_session* const both[] = {s.get(), t.get()};
  mamba3_session* const twice[] = {s.get(), s.get()};
  mamba3_session* const hole[] = {s.get(), nullptr};
  const mamba3_token ids[] = {1, 2}, outside[] = {1, 64};
  const auto refused = [](mamba3_status status, const char* word) {
    expect_failure(MAMBA3_INVALID_ARGUMENT, status, word);
  };
  refused(mamba3_session_step_batch(both, ids, 0), "at least one");
  refused(mamba3_session_step_batch(nullptr, ids, 2), "sessions is null");
  refused(mamba3_session_step_batch(both, nullptr, 2), "ids is null");
  refused(mamba3_session_step_batch(hole, ids, 2), "a session of the batch is null");
  refused(mamba3_session_step_batch(twice, ids, 2), "twice");
  refused(mamba3_session_step_batch(both, outside, 2), "64");
  refused(mamba3_session_compute_logits(both, 2), "first token");
  refused(mamba3_session_compute_logits(nullptr, 1), "sessions is null");
  EXPECT_EQ(mamba3_session_position(s.get()), 0) << "a refused batch moved a session";
  refused(mamba3_session_rewind(s.get(), 1), "expected 0 to 0");
  refused(mamba3_session_rewind(nullptr, 1), "null");
  ASSERT_EQ(mamba3_session_prefill(s.get(), ids, 2), MAMBA3_OK);
  refused(mamba3_session_rewind(s.get(), 3), "expected 0 to 2");
  refused(mamba3_session_rewind(s.get(), -1), "-1 tokens");
  EXPECT_EQ(mamba3_session_position(s.get()), 2);
  EXPECT_EQ(mamba3_session_rewindable(nullptr), 0);
}

TEST_F(CApi, RefusesWrongFiles) {
  mamba3_model* model = nullptr;
  expect_failure(MAMBA3_NOT_FOUND, mamba3_model_load((folder_ / "nothing").c_str(), &model), "nothing");
  EXPECT_EQ(model, nullptr);
  mamba3_session* loaded = nullptr;
  expect_failure(MAMBA3_NOT_FOUND, mamba3_session_load(model_.get(), (folder_ / "none").c_str(), &loaded),
                 "none");
  std::ofstream(folder_ / "junk") << "no state";
  expect_failure(MAMBA3_BAD_FORMAT, mamba3_session_load(model_.get(), (folder_ / "junk").c_str(), &loaded),
                 "junk");
  EXPECT_EQ(loaded, nullptr);
  const auto s = session();
  expect_failure(MAMBA3_IO, mamba3_session_save(s.get(), (folder_ / "no" / "such" / "folder").c_str()),
                 "folder");
}

TEST_F(CApi, RefusesNullPointers) {
  mamba3_model* model = nullptr;
  mamba3_session* s = nullptr;
  mamba3_sampler* sampler = nullptr;
  mamba3_token id = 0;
  size_t count = 0;
  const float* values = nullptr;
  const char* bytes = nullptr;
  const auto real = session();
  const auto options = mamba3_sampler_defaults();
  const auto refused = [](mamba3_status status) { expect_failure(MAMBA3_INVALID_ARGUMENT, status, "null"); };
  refused(mamba3_model_load(nullptr, &model));
  refused(mamba3_model_load(path_.c_str(), nullptr));
  refused(mamba3_tokenize(nullptr, "a", 1, 0, &id, 1, &count));
  refused(mamba3_tokenize(model_.get(), nullptr, 1, 0, &id, 1, &count));
  refused(mamba3_tokenize(model_.get(), "a", 1, 0, &id, 1, nullptr));
  refused(mamba3_tokenize(model_.get(), "a", 1, 0, nullptr, 1, &count));
  refused(mamba3_detokenize(model_.get(), nullptr, 1, 0, nullptr, 0, &count));
  refused(mamba3_token_bytes(model_.get(), 0, &bytes, nullptr));
  refused(mamba3_start_token(nullptr, &id));
  refused(mamba3_session_new(nullptr, &s));
  refused(mamba3_session_new(model_.get(), nullptr));
  refused(mamba3_session_fork(nullptr, &s));
  refused(mamba3_session_fork(real.get(), nullptr));
  refused(mamba3_session_prefill(nullptr, &id, 1));
  refused(mamba3_session_prefill(real.get(), nullptr, 1));
  refused(mamba3_session_step(nullptr, 0));
  refused(mamba3_session_logits(nullptr, &values, &count));
  refused(mamba3_session_save(real.get(), nullptr));
  refused(mamba3_session_load(model_.get(), nullptr, &s));
  refused(mamba3_sampler_new(nullptr, &sampler));
  refused(mamba3_sampler_new(&options, nullptr));
  refused(mamba3_sampler_fork(nullptr, &sampler));
  refused(mamba3_sampler_sample(nullptr, real.get(), &id));
  refused(mamba3_sampler_accept(nullptr, 0));
  EXPECT_EQ(mamba3_model_vocab_size(nullptr), 0);
  EXPECT_EQ(mamba3_model_state_bytes(nullptr), 0);
  EXPECT_EQ(mamba3_model_has_tokenizer(nullptr), 0);
  EXPECT_EQ(mamba3_is_end_token(nullptr, 0), 0);
  EXPECT_EQ(mamba3_session_position(nullptr), 0);
  mamba3_model_free(nullptr), mamba3_session_free(nullptr), mamba3_sampler_free(nullptr);
}

TEST_F(CApi, AModelWithoutATokenizerSaysSo) {
  mamba3_model* model = nullptr;
  ASSERT_EQ(mamba3_model_load((fixtures() / "tiny-siso").c_str(), &model), MAMBA3_OK) << mamba3_last_error();
  const Owned<mamba3_model> owned(model);
  size_t count = 0;
  EXPECT_EQ(mamba3_model_has_tokenizer(model), 0);
  EXPECT_EQ(mamba3_model_has_tokenizer(model_.get()), 1);
  expect_failure(MAMBA3_NOT_FOUND, mamba3_tokenize(model, "a", 1, 0, nullptr, 0, &count), "no tokenizer");
}

TEST_F(CApi, EachThreadHasItsOwnMessage) {
  expect_failure(MAMBA3_INVALID_ARGUMENT, mamba3_session_step(nullptr, 0), "session is null");
  std::string other = "not run";
  std::thread([&] { other = mamba3_last_error(); }).join();
  EXPECT_EQ(other, "");
  EXPECT_STREQ(mamba3_last_error(), "session is null");
}

}  // namespace
}  // namespace mamba3::test
