// States of sessions on the GPU: moved, saved, forked, rewound, and the same bits however a text is divided.
#include "mamba3/session.h"
#include "gpu/network_case.h"
#include "support.h"

namespace mamba3::test {
namespace {

class GpuSession : public GpuNetwork {};

TEST_P(GpuSession, StatesMoveBetweenDevices) {
  Text there(gpu()), here(cpu());
  there.read(ids(0, 45)), here.read(ids(0, 45));
  there.step(ids(45, 6)), here.step(ids(45, 6));
  // On to the CPU with a tail, and back again with another.
  Text on_cpu(cpu(), cpu().from_host(gpu().on_host(there.state)));
  on_cpu.step(ids(51, 3)), here.step(ids(51, 3));
  EXPECT_LE(error_of(on_cpu.logits(), here.logits()), bound());
  Text back(gpu(), gpu().from_host(cpu().on_host(on_cpu.state)));
  back.step(ids(54, 9)), here.step(ids(54, 9));
  EXPECT_LE(error_of(back.logits(), here.logits()), bound());
  Text from_cpu(gpu(), gpu().from_host(cpu().on_host(here.state)));
  from_cpu.read(ids(63, 20)), here.read(ids(63, 20));
  EXPECT_LE(error_of(from_cpu.logits(), here.logits()), bound());
}

TEST_P(GpuSession, MovingAStateKeepsItsBits) {
  Text straight(gpu());
  straight.read(ids(0, 30)), straight.step(ids(30, 5));
  Text moved(gpu(), gpu().from_host(gpu().on_host(straight.state)));
  Text forked(gpu(), straight.state);
  for (Text* text : {&straight, &moved, &forked}) text->step(ids(35, 12));
  EXPECT_TRUE(equal_bits(moved.logits(), straight.logits()));
  EXPECT_TRUE(equal_bits(forked.logits(), straight.logits()));
}

TEST_P(GpuSession, SessionsAreSavedOnOneDeviceAndLoadedOnAnother) {
  const TemporaryFolder folder;
  const Model on_gpu(gpu_), on_cpu(cpu_);
  Session written(on_gpu);
  written.prefill(ids(0, 40));
  for (const TokenId id : ids(40, 5)) written.step(id);
  written.save(folder / "state");
  Session again = Session::load(on_gpu, folder / "state"), other = Session::load(on_cpu, folder / "state");
  Session fork = written.fork();
  EXPECT_EQ(again.position(), 45);
  for (Session* session : {&written, &again, &other, &fork}) {
    for (const TokenId id : ids(45, 10)) session->step(id);
  }
  const auto logits = [](Session& session) {
    return Logits(session.logits().begin(), session.logits().end());
  };
  EXPECT_TRUE(equal_bits(logits(again), logits(written)));
  EXPECT_TRUE(equal_bits(logits(fork), logits(written)));
  EXPECT_LE(error_of(logits(other), logits(written)), bound_of_two());
}

TEST_P(GpuSession, RewindingUndoesSteps) {
  Text straight(gpu()), wandering(gpu());
  straight.read(ids(0, 33)), wandering.read(ids(0, 33));
  straight.step(ids(33, 2)), wandering.step(ids(33, 2));
  std::int64_t done = 35;
  while (wandering.state.rewindable() < 2) {
    straight.step(ids(done, 1)), wandering.step(ids(done, 1));
    ++done;
  }
  const auto before = wandering.logits();
  wandering.rewind(1);
  wandering.step(ids(done - 1, 1));
  EXPECT_TRUE(equal_bits(wandering.logits(), before));
  if (wandering.state.rewindable() >= 2) wandering.rewind(2), wandering.step(ids(done - 2, 2));
  straight.step(ids(done, 15)), wandering.step(ids(done, 15));
  EXPECT_TRUE(equal_bits(wandering.logits(), straight.logits()));
}

TEST_P(GpuSession, AnyDivisionGivesTheSameBitsWhenExact) {
  if (!GetParam().exact) GTEST_SKIP() << "a promise of the exact path alone";
  Text whole(gpu());
  whole.read(ids(0, 200));
  for (const std::vector<std::int64_t>& cuts :
       {std::vector<std::int64_t>{1, 2, 3}, {63}, {64, 65}, {7, 16, 100, 199}}) {
    Text text(gpu());
    std::int64_t done = 0;
    for (const std::int64_t cut : cuts) {
      text.read(ids(done, cut - done));
      text.state = gpu().from_host(gpu().on_host(text.state));
      done = cut;
    }
    text.read(ids(done, 200 - done));
    EXPECT_TRUE(equal_bits(text.logits(), whole.logits())) << "first cut at " << cuts.front();
  }
}

MAMBA3_ON_EVERY_NETWORK(GpuSession);

}  // namespace
}  // namespace mamba3::test
