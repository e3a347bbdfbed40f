// Sessions on the two tiny models: the same bits however the work is cut, saved, loaded and forked.
#include "mamba3/session.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/threads.h"
#include "model/network.h"
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

TEST_P(Sessions, BatchesGiveWhatSessionsGiveAlone) {
  const Network& network = model.network();
  Arena arena;
  const auto D = network.config().d_model;
  std::vector<NetworkState> states(3, network.zero_state());
  std::vector<float> hidden(3 * D), alone(D);
  network.prefill(arena, part(0, 20), states[1], alone.data());
  std::vector<NetworkState> copies = states;
  const std::vector<TokenId> batch = {5, 6, 7};
  std::vector<NetworkState*> pointers = {&states[0], &states[1], &states[2]};
  network.step(arena, batch, pointers, hidden.data());
  for (std::size_t b = 0; b < batch.size(); ++b) {
    NetworkState* one = &copies[b];
    network.step(arena, {&batch[b], 1}, {&one, 1}, alone.data());
    EXPECT_EQ(std::memcmp(alone.data(), hidden.data() + b * D, D * sizeof(float)), 0) << b;
  }
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
