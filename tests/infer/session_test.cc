// Sessions on the two tiny models: the same bits however the work is cut, saved, loaded and forked.
#include "mamba3/session.h"

#include <algorithm>
#include <cstdint>

#include "core/error.h"
#include "core/threads.h"
#include "support.h"

namespace mamba3 {
namespace {

using Logits = std::vector<float>;

class Sessions : public testing::TestWithParam<const char*> {
 protected:
  Model model = Model::load(test::fixtures() / GetParam());

  // 300 tokens: several chunks, several blocks of products, and an unfinished chunk at the end.
  std::vector<TokenId> ids = [] {
    std::vector<TokenId> made;
    for (int i = 0; i < 300; ++i) made.push_back((i * 37 + i * i % 11) % 61);
    return made;
  }();

  Logits logits(Session& session) {
    const auto view = session.logits();
    return {view.begin(), view.end()};
  }
  Logits whole() {
    Session session(model);
    session.prefill(ids);
    return logits(session);
  }
  std::span<const TokenId> part(std::size_t first, std::size_t last) {
    return std::span(ids).subspan(first, last - first);
  }
};

TEST_P(Sessions, AnyDivisionGivesTheSameBits) {
  const Logits expected = whole();
  for (const std::vector<std::size_t>& cuts :
       {std::vector<std::size_t>{1, 2, 3}, {63}, {64}, {65, 128}, {7, 16, 17, 100, 255, 256, 299}}) {
    Session session(model);
    std::size_t from = 0;
    for (const std::size_t cut : cuts) {
      session.prefill(part(from, cut));
      from = cut;
    }
    session.prefill(part(from, ids.size()));
    EXPECT_EQ(logits(session), expected) << cuts.size() << " cuts, the first at " << cuts.front();
  }
}

TEST_P(Sessions, SavingLoadingAndForkingKeepTheBits) {
  const test::TemporaryFolder folder;
  const Logits expected = whole();
  Session first(model);
  first.prefill(part(0, 77));
  first.save(folder / "state", "a note");
  std::string note;
  Session loaded = Session::load(model, folder / "state", &note);
  EXPECT_EQ(note, "a note");
  EXPECT_EQ(loaded.position(), 77);
  EXPECT_EQ(logits(loaded), logits(first));
  loaded.prefill(part(77, 130));
  Session fork = loaded.fork();
  loaded.prefill(part(130, ids.size()));
  EXPECT_EQ(logits(loaded), expected);
  fork.prefill(part(130, 131));
  fork.prefill(part(131, ids.size()));
  EXPECT_EQ(logits(fork), expected);
}

TEST_P(Sessions, StepsRepeatTheirBitsWhenResumed) {
  const test::TemporaryFolder folder;
  Session straight(model);
  straight.prefill(part(0, 50));
  for (std::size_t i = 50; i < 90; ++i) straight.step(ids[i]);

  Session stopped(model);
  stopped.prefill(part(0, 50));
  for (std::size_t i = 50; i < 61; ++i) stopped.step(ids[i]);
  stopped.save(folder / "state");
  Session resumed = Session::load(model, folder / "state");
  for (std::size_t i = 61; i < 90; ++i) resumed.step(ids[i]);
  EXPECT_EQ(logits(resumed), logits(straight));

  // Prefill after steps: a checkpoint in the middle of a chunk, and still any division.
  straight.prefill(part(90, 200));
  resumed.prefill(part(90, 96));
  resumed.prefill(part(96, 97));
  resumed.prefill(part(97, 200));
  EXPECT_EQ(logits(resumed), logits(straight));
}

TEST_P(Sessions, StepsAgreeWithPrefill) {
  const Logits expected = whole();
  Session session(model);
  for (const TokenId id : ids) session.step(id);
  const Logits found = logits(session);
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  EXPECT_LT(std::sqrt(difference / size), 1e-4);  // the tolerance of a model's logits
}

// Tails of every kind: none, a prompt's, steps', a loaded, a forked and a rewound one.
TEST_P(Sessions, BatchesGiveWhatSessionsGiveAlone) {
  const test::TemporaryFolder folder;
  std::vector<Session> alone;
  const auto with_prompt = [&](std::size_t tokens) -> Session& {
    Session& session = alone.emplace_back(model);
    session.prefill(part(0, tokens));
    return session;
  };
  alone.emplace_back(model);
  with_prompt(20), with_prompt(63), with_prompt(64), with_prompt(130);
  Session& stepped = with_prompt(10);
  for (std::size_t i = 10; i < 15; ++i) stepped.step(ids[i]);
  stepped.save(folder / "state");
  with_prompt(34).rewind(1);
  alone.push_back(Session::load(model, folder / "state"));
  alone.push_back(alone[2].fork());

  std::vector<Session> batch;
  std::vector<Session*> pointers;
  for (const Session& session : alone) batch.push_back(session.fork());
  for (Session& session : batch) pointers.push_back(&session);
  for (std::size_t round = 0; round < 20; ++round) {
    std::vector<TokenId> tokens;
    for (std::size_t i = 0; i < alone.size(); ++i) tokens.push_back(ids[round * alone.size() + i]);
    Session::step(pointers, tokens);
    logits(batch[round % batch.size()]);  // one is known already
    Session::compute_logits(pointers);
    for (std::size_t i = 0; i < alone.size(); ++i) {
      alone[i].step(tokens[i]);
      EXPECT_EQ(logits(batch[i]), logits(alone[i])) << "session " << i << ", round " << round;
      EXPECT_EQ(batch[i].position(), alone[i].position());
    }
  }
}

TEST_P(Sessions, RefusedBatchesMoveNoSession) {
  const Model other = Model::load(test::fixtures() / "tiny-siso");  // another instance, even of the same file
  Session a(model), b(model), stranger(other);
  a.prefill(part(0, 5)), b.prefill(part(0, 6)), stranger.prefill(part(0, 7));
  const Logits before_a = logits(a), before_b = logits(b);
  const auto refused = [&](std::vector<Session*> sessions, std::vector<TokenId> tokens, const char* word) {
    try {
      Session::step(sessions, tokens);
      ADD_FAILURE() << word;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << error.what();
    }
    EXPECT_EQ(a.position(), 5);
    EXPECT_EQ(b.position(), 6);
    EXPECT_EQ(logits(a), before_a);
    EXPECT_EQ(logits(b), before_b);
  };
  refused({}, {}, "at least one");
  refused({&a, &b}, {1}, "2 sessions and 1 tokens");
  refused({&a, &b, &a}, {1, 2, 3}, "session 0 stands twice");
  refused({&a, nullptr}, {1, 2}, "session 1 of the batch is null");
  refused({&a, &stranger}, {1, 2}, "another model");
  refused({&a, &b}, {1, static_cast<TokenId>(model.vocab_size())}, "outside the vocabulary");
  Session fresh(model);
  const std::vector<Session*> unread = {&a, &fresh};
  EXPECT_THROW(Session::compute_logits(unread), Error);
  EXPECT_THROW(Session::compute_logits({}), Error);
}

TEST_P(Sessions, RewoundSessionsNeverReadWhatWasUndone) {
  const test::TemporaryFolder folder;
  for (const std::size_t from : {0, 1, 7, 16, 33, 64, 70}) {
    Session straight(model);
    straight.prefill(part(0, from));
    for (const bool by_steps : {false, true}) {
      Session astray = straight.fork();
      std::int64_t read = 0;
      for (std::size_t i = 100; i < 103 && (read == 0 || astray.rewindable() >= read); ++i, ++read) {
        by_steps ? astray.step(ids[i]) : astray.prefill(part(i, i + 1));
      }
      if (astray.rewindable() < read) continue;
      astray.save(folder / "state");
      Session loaded = Session::load(model, folder / "state");
      EXPECT_EQ(loaded.rewindable(), astray.rewindable());
      for (Session* each : {&astray, &loaded}) {
        each->rewind(read);
        EXPECT_EQ(each->position(), straight.position());
        EXPECT_EQ(each->rewindable(), straight.rewindable());
        if (from == 0) {
          EXPECT_THROW(each->logits(), Error);
        } else {
          EXPECT_EQ(logits(*each), logits(straight)) << from << " tokens, then " << read;
        }
        Session twin = straight.fork();
        for (Session* one : {each, &twin}) {
          for (std::size_t i = 0; i < 9; ++i) one->step(ids[i]);
          one->prefill(part(20, 90));
        }
        EXPECT_EQ(logits(*each), logits(twin)) << from << " tokens, then " << read;
      }
    }
  }
}

// The whole tail of a prompt can be undone, a token at a time, and each time the logits are the old ones.
TEST_P(Sessions, ATailIsUndoneTokenByToken) {
  Session session(model);
  session.prefill(part(0, 77));
  ASSERT_GT(session.rewindable(), 3);
  while (session.rewindable() > 0) {
    session.rewind(1);
    Session expected(model);
    expected.prefill(part(0, static_cast<std::size_t>(session.position())));
    EXPECT_EQ(logits(session), logits(expected)) << session.position();
  }
}

TEST_P(Sessions, RefusesToUndoWhatACheckpointHolds) {
  Session session(model);
  EXPECT_EQ(session.rewindable(), 0);
  EXPECT_THROW(session.rewind(1), Error);
  session.prefill(part(0, 64));
  EXPECT_EQ(session.rewindable(), 0) << "a chunk that is complete is taken in";
  session.prefill(part(64, 67));
  const Logits before = logits(session);
  for (const std::int64_t tokens : {std::int64_t{4}, std::int64_t{-1}, INT64_MAX, INT64_MIN}) {
    EXPECT_THROW(session.rewind(tokens), Error) << tokens;
  }
  session.rewind(0);
  EXPECT_EQ(session.position(), 67);
  EXPECT_EQ(logits(session), before);
  std::int64_t most = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    session.step(ids[i]);
    most = std::max(most, session.rewindable());
    EXPECT_LT(session.rewindable(), 64);
  }
  EXPECT_GE(most, 1);
}

TEST_P(Sessions, RefusesWhatItCannotRead) {
  Session session(model);
  EXPECT_THROW(session.logits(), Error);
  const TokenId outside = static_cast<TokenId>(model.vocab_size());
  EXPECT_THROW(session.step(outside), Error);
  EXPECT_THROW(session.step(-1), Error);
  session.prefill(part(0, 10));
  const Logits before = logits(session);
  EXPECT_THROW(session.prefill(std::vector<TokenId>{1, outside}), Error);
  EXPECT_EQ(session.position(), 10);
  EXPECT_EQ(logits(session), before) << "a refused token must leave the session as it was";
}

// On a model whose products are wide enough to be shared.
TEST(DefaultModel, AnyNumberOfThreadsGivesTheSameBits) {
  const auto path = test::fixtures().parent_path().parent_path() / "models" / "classics-siso-20m-q8_0.gguf";
  const Model model = Model::load(path);
  std::vector<TokenId> ids;
  for (int i = 0; i < 100; ++i) ids.push_back((i * 7919 + 13) % 8192);
  std::vector<float> expected;
  for (const int count : {1, 2, 3, 5}) {
    use_threads(count);
    Session session(model);
    session.prefill(ids);
    session.step(7);
    const auto found = session.logits();
    if (expected.empty()) expected.assign(found.begin(), found.end());
    EXPECT_TRUE(std::ranges::equal(found, expected)) << count << " threads";
  }
  use_threads(0);
}

INSTANTIATE_TEST_SUITE_P(Tiny, Sessions, testing::Values("tiny-siso", "tiny-mimo"),
                         [](const auto& each) { return std::string(each.param).substr(5); });

}  // namespace
}  // namespace mamba3
