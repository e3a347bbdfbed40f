// The C API gives what the C++ API gives.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "fixture.h"
#include "mamba3/mamba3.hpp"

namespace mamba3::test {
namespace {

TEST_F(CApi, StatusesAreTheErrorCodes) {
  EXPECT_EQ(static_cast<int>(MAMBA3_INVALID_ARGUMENT), static_cast<int>(ErrorCode::invalid_argument));
  EXPECT_EQ(static_cast<int>(MAMBA3_NOT_FOUND), static_cast<int>(ErrorCode::not_found));
  EXPECT_EQ(static_cast<int>(MAMBA3_BAD_FORMAT), static_cast<int>(ErrorCode::bad_format));
  EXPECT_EQ(static_cast<int>(MAMBA3_UNSUPPORTED), static_cast<int>(ErrorCode::unsupported));
  EXPECT_EQ(static_cast<int>(MAMBA3_IO), static_cast<int>(ErrorCode::io));
  EXPECT_EQ(static_cast<int>(MAMBA3_NUMERIC), static_cast<int>(ErrorCode::numeric));
  EXPECT_EQ(static_cast<int>(MAMBA3_INTERNAL), static_cast<int>(ErrorCode::internal));
}

TEST_F(CApi, SamplerDefaultsAreThoseOfCpp) {
  const SamplerOptions expected;
  const mamba3_sampler_options found = mamba3_sampler_defaults();
  EXPECT_EQ(found.temperature, expected.temperature);
  EXPECT_EQ(found.top_k, expected.top_k);
  EXPECT_EQ(found.top_p, expected.top_p);
  EXPECT_EQ(found.min_p, expected.min_p);
  EXPECT_EQ(found.repeat_penalty, expected.repeat_penalty);
  EXPECT_EQ(found.repeat_last, expected.repeat_last);
  EXPECT_EQ(found.seed, expected.seed);
}

TEST_F(CApi, GivesTheLogitsOfCpp) {
  const Model model = Model::load(path_);
  EXPECT_EQ(mamba3_model_vocab_size(model_.get()), model.vocab_size());
  EXPECT_EQ(mamba3_model_state_bytes(model_.get()), model.state_bytes());
  Session expected(model);
  const auto found = session();
  expected.prefill(ids_);
  ASSERT_EQ(mamba3_session_prefill(found.get(), ids_.data(), ids_.size()), MAMBA3_OK);
  for (const mamba3_token id : {5, 0}) {
    const auto span = expected.logits();
    EXPECT_EQ(logits(found.get()), std::vector<float>(span.begin(), span.end()));
    expected.step(id);
    ASSERT_EQ(mamba3_session_step(found.get(), id), MAMBA3_OK);
    EXPECT_EQ(mamba3_session_position(found.get()), expected.position());
  }
}

TEST_F(CApi, SessionsOutliveTheModel) {
  const auto s = session();
  model_.reset();
  EXPECT_EQ(mamba3_session_prefill(s.get(), ids_.data(), ids_.size()), MAMBA3_OK);
  EXPECT_EQ(logits(s.get()).size(), 64u);
}

TEST_F(CApi, ForkedAndLoadedSessionsGoOnWithTheSameBits) {
  const auto s = session();
  ASSERT_EQ(mamba3_session_prefill(s.get(), ids_.data(), ids_.size()), MAMBA3_OK);
  const std::string file = (folder_ / "state").string();
  ASSERT_EQ(mamba3_session_save(s.get(), file.c_str()), MAMBA3_OK) << mamba3_last_error();
  mamba3_session *fork = nullptr, *loaded = nullptr;
  ASSERT_EQ(mamba3_session_fork(s.get(), &fork), MAMBA3_OK);
  const Owned<mamba3_session> owned_fork(fork);
  ASSERT_EQ(mamba3_session_load(model_.get(), file.c_str(), &loaded), MAMBA3_OK) << mamba3_last_error();
  const Owned<mamba3_session> owned_loaded(loaded);
  EXPECT_EQ(logits(loaded), logits(s.get()));
  EXPECT_EQ(logits(fork), logits(s.get()));
  for (mamba3_session* each : {s.get(), fork, loaded}) {
    ASSERT_EQ(mamba3_session_prefill(each, ids_.data(), ids_.size()), MAMBA3_OK);
    EXPECT_EQ(mamba3_session_position(each), 14);
  }
  EXPECT_EQ(logits(fork), logits(s.get()));
  EXPECT_EQ(logits(loaded), logits(s.get()));
}

TEST_F(CApi, ABatchGivesWhatItsSessionsGiveAlone) {
  const auto a = session(), b = session(), c = session(), alone = session();
  ASSERT_EQ(mamba3_session_prefill(b.get(), ids_.data(), ids_.size()), MAMBA3_OK);
  ASSERT_EQ(mamba3_session_prefill(alone.get(), ids_.data(), ids_.size()), MAMBA3_OK);
  mamba3_session* const sessions[] = {a.get(), b.get(), c.get()};
  for (const mamba3_token id : {3, 1, 4, 1, 5}) {
    const mamba3_token ids[] = {2, id, 0};
    ASSERT_EQ(mamba3_session_step_batch(sessions, ids, 3), MAMBA3_OK) << mamba3_last_error();
    ASSERT_EQ(mamba3_session_compute_logits(sessions, 3), MAMBA3_OK) << mamba3_last_error();
    ASSERT_EQ(mamba3_session_step(alone.get(), id), MAMBA3_OK);
    EXPECT_EQ(logits(b.get()), logits(alone.get()));
  }
  EXPECT_EQ(mamba3_session_position(a.get()), 5);
}

TEST_F(CApi, RewoundSessionsGoOnAsIfNothingHadBeenRead) {
  const auto s = session(), straight = session();
  for (mamba3_session* each : {s.get(), straight.get()}) {
    ASSERT_EQ(mamba3_session_prefill(each, ids_.data(), 3), MAMBA3_OK);
  }
  ASSERT_EQ(mamba3_session_prefill(s.get(), ids_.data() + 3, 4), MAMBA3_OK);
  EXPECT_EQ(mamba3_session_rewindable(s.get()), 7);
  ASSERT_EQ(mamba3_session_rewind(s.get(), 4), MAMBA3_OK) << mamba3_last_error();
  EXPECT_EQ(mamba3_session_position(s.get()), 3);
  EXPECT_EQ(logits(s.get()), logits(straight.get()));
  for (mamba3_session* each : {s.get(), straight.get()}) ASSERT_EQ(mamba3_session_step(each, 9), MAMBA3_OK);
  EXPECT_EQ(logits(s.get()), logits(straight.get()));
}

TEST_F(CApi, SamplersDrawWhatCppDraws) {
  mamba3_sampler_options options = mamba3_sampler_defaults();
  options.seed = 5, options.temperature = 1.5f, options.min_p = 0, options.repeat_penalty = 1.3f;
  const auto s = session();
  const auto first = sampler(options);
  ASSERT_EQ(mamba3_session_prefill(s.get(), ids_.data(), ids_.size()), MAMBA3_OK);
  Session other(Model::load(path_));
  other.prefill(ids_);
  Sampler expected({.temperature = 1.5f, .min_p = 0, .repeat_penalty = 1.3f, .seed = 5});
  for (int i = 0; i < 20; ++i) {
    mamba3_token id = -1, again = -1;
    mamba3_sampler* fork = nullptr;
    ASSERT_EQ(mamba3_sampler_fork(first.get(), &fork), MAMBA3_OK);
    const Owned<mamba3_sampler> owned(fork);
    ASSERT_EQ(mamba3_sampler_sample(first.get(), s.get(), &id), MAMBA3_OK) << mamba3_last_error();
    ASSERT_EQ(mamba3_sampler_sample(fork, s.get(), &again), MAMBA3_OK);
    EXPECT_EQ(again, id);
    EXPECT_LT(id, 5) << "a row without a token was drawn";
    EXPECT_EQ(id, expected.sample(other.logits(), 5));
    expected.accept(id);
    ASSERT_EQ(mamba3_sampler_accept(first.get(), id), MAMBA3_OK);
  }
}

TEST_F(CApi, TextToTokensAndBack) {
  const std::string text = "abcab";
  size_t count = 99;
  ASSERT_EQ(mamba3_tokenize(model_.get(), text.data(), text.size(), 0, nullptr, 0, &count), MAMBA3_OK);
  ASSERT_EQ(count, 2u);
  std::vector<mamba3_token> ids(count, -1);
  expect_failure(MAMBA3_INVALID_ARGUMENT,
                 mamba3_tokenize(model_.get(), text.data(), text.size(), 0, ids.data(), 1, &count),
                 "at least 2");
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(ids.front(), -1) << "written into a buffer that is too small";
  ASSERT_EQ(mamba3_tokenize(model_.get(), text.data(), text.size(), 0, ids.data(), ids.size(), &count),
            MAMBA3_OK);
  EXPECT_EQ(ids, Model::load(path_).tokenizer().encode(text, false));

  size_t size = 0;
  ASSERT_EQ(mamba3_detokenize(model_.get(), ids.data(), ids.size(), 0, nullptr, 0, &size), MAMBA3_OK);
  ASSERT_EQ(size, text.size());
  std::string back(size, '?');
  expect_failure(MAMBA3_INVALID_ARGUMENT,
                 mamba3_detokenize(model_.get(), ids.data(), ids.size(), 0, back.data(), size - 1, &size),
                 "bytes");
  ASSERT_EQ(mamba3_detokenize(model_.get(), ids.data(), ids.size(), 0, back.data(), size, &size), MAMBA3_OK);
  EXPECT_EQ(back, text);

  const char* bytes = nullptr;
  ASSERT_EQ(mamba3_token_bytes(model_.get(), 4, &bytes, &size), MAMBA3_OK) << mamba3_last_error();
  EXPECT_EQ(std::string(bytes, size), "abc");
  EXPECT_EQ(mamba3_tokenize(model_.get(), nullptr, 0, 0, nullptr, 0, &count), MAMBA3_OK) << "an empty text";
  EXPECT_EQ(count, 0u);
}

TEST_F(CApi, ThreadsAndVersion) {
  EXPECT_EQ(mamba3_set_threads(1), MAMBA3_OK);
  EXPECT_EQ(mamba3_threads(), 1);
  expect_failure(MAMBA3_INVALID_ARGUMENT, mamba3_set_threads(-1), "-1");
  expect_failure(MAMBA3_INVALID_ARGUMENT, mamba3_set_threads(1'000'000), "1000000");
  EXPECT_EQ(mamba3_threads(), 1);
  EXPECT_EQ(mamba3_set_threads(0), MAMBA3_OK);
  EXPECT_GE(mamba3_threads(), 1);
  EXPECT_GE(std::strlen(mamba3_version()), 5u);
}

}  // namespace
}  // namespace mamba3::test
