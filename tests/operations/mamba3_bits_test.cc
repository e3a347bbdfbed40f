// The same bits however the work is cut: forward calls, forks, single steps between them, rewinding, packed
// sequences.
#include <fmt/format.h>

#include <algorithm>

#include "backend.h"
#include "bounds.h"
#include "mamba3_case.h"

namespace mamba3::test {
namespace {

class Mamba3Bits : public OnBackend {};

Calls by(std::int64_t most, std::int64_t tokens) {
  Calls calls;
  for (std::int64_t done = 0; done < tokens; done += most) calls.push_back({std::min(most, tokens - done)});
  return calls;
}

Calls at_random(Draw& draw, std::int64_t tokens) {
  Calls calls;
  while (tokens > 0) {
    calls.push_back({1 + draw.below(std::min<std::int64_t>(tokens, 40))});
    tokens -= calls.back().tokens;
  }
  return calls;
}

struct Result {
  Floats out, state;
};

void expect_same(const Result& a, const Result& b, const std::string& what) {
  EXPECT_TRUE(same_bits(a.out, b.out)) << "out, " << what;
  EXPECT_TRUE(same_bits(a.state, b.state)) << "state, " << what;
}

Result run(const Mamba3Case& given, const Calls& calls) {
  LayerState state = given.start();
  const Floats out = given.run(state, calls);
  return {out, given.state_values(state)};
}

// Goes on with a copy after each call, while the session it was copied from reads other text.
Result run_forking(const Mamba3Case& given, const Calls& calls) {
  LayerState state = given.start();
  Result result;
  std::int64_t done = 0;
  for (const Call& call : calls) {
    LayerState left = state;
    given.run(left, given.shape().first + done, 0, {{1}});
    given.run(left, given.shape().first + done + 1, 0, {{1, true}});
    LayerState copy = state;
    state = LayerState{};
    const Floats out = given.run(copy, given.shape().first, done, {call});
    state = copy;
    result.out.insert(result.out.end(), out.begin(), out.end());
    done += call.tokens;
  }
  result.state = given.state_values(state);
  return result;
}

TEST_P(Mamba3Bits, AnyDivisionIntoForwardCalls) {
  each_case(mamba3_row(), [&](const Mamba3Shape& shape, DType type) {
    if (type == DType::f16 || type == DType::bf16) return;  // weights play no part in the cut
    const Mamba3Case given(shape, type, device());
    const auto T = shape.tokens;
    const Result whole = run(given, {{T}});
    for (const std::int64_t most : {1, 5, 16, 63, 64})
      expect_same(whole, run(given, by(most, T)), fmt::format("by {}", most));
    Draw draw(51);
    for (int i = 0; i < 3; ++i)
      expect_same(whole, run(given, at_random(draw, T)), fmt::format("at random, {}", i));
    expect_same(whole, run_forking(given, by(11, T)), "forked");
  });
}

// Single steps move the checkpoint to places of their own; from there the same holds again.
TEST_P(Mamba3Bits, AnyDivisionAroundSingleSteps) {
  each_case(mamba3_row(), [&](const Mamba3Shape& shape, DType type) {
    if (shape.tokens < 8 || type == DType::f16 || type == DType::bf16) return;
    const Mamba3Case given(shape, type, device());
    const std::int64_t rest = shape.tokens - 5, half = rest / 2;
    const Calls whole = {{1, true}, {half}, {4, true}, {rest - half}};
    const auto cut = [&](std::int64_t most) {
      Calls calls = {{1, true}};
      for (const Call& call : by(most, half)) calls.push_back(call);
      calls.push_back({4, true});
      for (const Call& call : by(most, rest - half)) calls.push_back(call);
      return calls;
    };
    const Result once = run(given, whole);
    expect_same(once, run(given, whole), "again");
    for (const std::int64_t most : {1, 3, 16})
      expect_same(once, run(given, cut(most)), fmt::format("by {}", most));
    expect_same(once, run_forking(given, cut(7)), "forked");
  });
}

// A sequence that stands behind others in the rows is the sequence alone, within what the place of its chunks
// changes.
TEST_P(Mamba3Bits, PackedSequencesAgreeWithSeparateOnes) {
  each_case(mamba3_row(), [&](const Mamba3Shape& shape, DType type) {
    if (type != DType::f32) return;
    constexpr std::int64_t kLengths[] = {1, 17, 64, 5, 33};
    const Mamba3Case given({shape.name, shape.config, 120}, type, device());
    const auto D = given.config().d_model;
    std::int64_t done = 0;
    for (const std::int64_t length : kLengths) {
      LayerState packed = given.start(), alone = given.start();
      const Floats out = given.run(packed, 0, done, {{length}});
      const Floats expected = given.run(alone, -done, done, {{length}});
      ASSERT_EQ(std::ssize(out), length * D);
      const auto bound = mamba3_bound(given.config(), length, 1);
      EXPECT_LE(relative_error(out, doubles(expected)), 2 * bound.relative) << "sequence at " << done;
      EXPECT_LE(relative_error(given.exported(packed).h, doubles(given.exported(alone).h)),
                2 * bound.relative);
      done += length;
    }
  });
}

// Whatever is read and undone again leaves no trace, wherever in a chunk it happens and whatever comes after.
TEST_P(Mamba3Bits, RewindingLeavesNoTrace) {
  each_case(mamba3_row(), [&](const Mamba3Shape& shape, DType type) {
    if (type != DType::f32) return;
    // Long enough that something is undone where sequences leave no tail, single steps alone (cuda).
    constexpr std::int64_t kTokens = 260, kAhead = 20;
    const Mamba3Case given({shape.name, shape.config, kTokens + kAhead, shape.first, shape.resumed}, type,
                           device());
    Draw draw(71);
    LayerState state = given.start();
    int undone = 0;
    for (std::int64_t done = 0; done < kTokens;) {
      const Call call{1 + draw.below(6), draw.below(2) == 1};
      given.run(state, shape.first, done, {call});
      done += call.tokens;
      LayerState astray = state;
      const Call other{1 + draw.below(6), draw.below(2) == 1};
      const std::int64_t back = 1 + draw.below(std::min<std::int64_t>(done, 7));
      given.run(astray, shape.first + back, done - back, {other});  // other text, the same position
      if (astray.tail != state.tail + other.tokens) continue;       // the checkpoint has moved on
      given.rewind(astray, other.tokens);
      ++undone;
      EXPECT_EQ(astray.tail, state.tail);
      EXPECT_TRUE(same_bits(given.state_values(astray), given.state_values(state))) << "after " << done;
      const Call next{1 + draw.below(10), draw.below(2) == 1};
      LayerState straight = state;
      EXPECT_TRUE(same_bits(given.run(astray, shape.first, done, {next}),
                            given.run(straight, shape.first, done, {next})))
          << "after " << done;
      EXPECT_TRUE(same_bits(given.state_values(astray), given.state_values(straight))) << "after " << done;
    }
    EXPECT_GT(undone, 0);
  });
}

TEST_P(Mamba3Bits, ExportedStatesGoOn) {
  each_case(mamba3_row(), [&](const Mamba3Shape& shape, DType type) {
    if (type != DType::f32) return;
    const Mamba3Case given(shape, type, device());
    LayerState state = given.start();
    given.run(state, {{shape.tokens}});
    const LayerState imported = mamba3_import_state(given.config(), given.exported(state));
    EXPECT_EQ(imported.tail, 0);
    EXPECT_TRUE(same_bits(given.state_values(state), given.state_values(imported)));
    // The same state once with a tail and once without: they go on alike, within rounding.
    LayerState other = imported;
    const std::int64_t at = shape.first + shape.tokens;
    const Floats out = given.run(state, at, 0, {{1, true}});
    const auto bound = mamba3_bound(given.config(), shape.tokens + 1, 1);
    EXPECT_LE(relative_error(given.run(other, at, 0, {{1, true}}), doubles(out)), 2 * bound.relative);
  });
}

MAMBA3_ON_EVERY_BACKEND(Mamba3Bits);

}  // namespace
}  // namespace mamba3::test
