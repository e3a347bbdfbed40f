// State files that are sound by their checksum and hostile in what they say.
#include <xxhash.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "mamba3/mamba3.hpp"
#include "support.h"

namespace mamba3::test {
namespace {

constexpr std::size_t kVersionAt = 8, kPositionAt = 24, kHiddenAt = 48, kFirstTailAt = 64;  // docs/formats.md

class HostileState : public testing::Test {
 protected:
  HostileState() : model_(Model::load(fixtures() / "tiny-siso")), path_(folder_ / "state") {
    Session session(model_);
    session.prefill(std::vector<TokenId>(70, 1));  // chunks of 32: a tail of 6
    session.save(path_);
    bytes_ = read_file(path_);
  }

  void put(std::size_t at, std::int64_t value) { std::memcpy(bytes_.data() + at, &value, sizeof value); }

  void write() {
    const std::size_t size = bytes_.size() - sizeof(XXH64_hash_t);
    const XXH64_hash_t sum = XXH3_64bits(bytes_.data(), size);
    std::memcpy(bytes_.data() + size, &sum, sizeof sum);
    std::ofstream(path_, std::ios::binary) << bytes_;
  }

  void expect_refused() {
    write();
    try {
      Session::load(model_, path_).prefill(std::vector<TokenId>(64, 1));
      ADD_FAILURE() << "loaded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_format) << error.what();
    }
  }

  TemporaryFolder folder_;
  Model model_;
  std::filesystem::path path_;
  std::string bytes_;
};

TEST_F(HostileState, IsReadWhenNothingIsWrong) {
  write();
  EXPECT_EQ(Session::load(model_, path_).position(), 70);
}

// A tail reaches back to the start of its chunk at most; a longer one would be continued beyond the chunk's
// memory.
TEST_F(HostileState, ATailLongerThanItsChunkSoFar) {
  for (const std::int64_t tail : {7, 31, 32, -1, 5, 0}) {  // the last two do not fit the hidden vectors
    put(kFirstTailAt, tail);
    expect_refused();
  }
}

TEST_F(HostileState, AnotherNumberOfHiddenVectors) {
  for (const std::int64_t hidden :
       {std::int64_t{0}, std::int64_t{6}, std::int64_t{8}, std::int64_t{33}, INT64_MAX}) {
    put(kHiddenAt, hidden);
    expect_refused();
  }
}

TEST_F(HostileState, AStateOfAnotherRelease) {
  put(kVersionAt, 1);
  write();
  try {
    Session::load(model_, path_);
    ADD_FAILURE() << "loaded";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_NE(std::string(error.what()).find("version 1, expected 2"), std::string::npos) << error.what();
  }
}

TEST_F(HostileState, APositionThatCannotGrow) {
  for (const std::int64_t position : {INT64_MAX, INT64_MAX - 60, std::int64_t{-1}}) {
    put(kPositionAt, position);
    expect_refused();
  }
}

}  // namespace
}  // namespace mamba3::test
