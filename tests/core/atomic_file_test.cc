#include "core/atomic_file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include "mamba3/error.h"
#include "support.h"

namespace mamba3 {
namespace {

namespace fs = std::filesystem;

std::size_t files_in(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

void save(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

/// The message of the Error(io) that `action` throws.
template <typename Action>
std::string io_message(Action action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::io) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

void expect_mentions(const std::string& message, const std::string& words) {
  EXPECT_NE(message.find(words), std::string::npos) << message;
}

TEST(AtomicFile, CommitsWhatWasWritten) {
  const test::TemporaryFolder folder;
  AtomicFile file(folder / "out");
  file.write("first ");
  const std::vector<std::byte> bytes(3, std::byte{'x'});
  file.write(bytes);
  EXPECT_EQ(file.position(), 9);
  EXPECT_FALSE(fs::exists(folder / "out"));
  file.commit();
  EXPECT_EQ(test::read_file(folder / "out"), "first xxx");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(AtomicFile, WithoutCommitNothingChanges) {
  const test::TemporaryFolder folder;
  save(folder / "out", "old");
  {
    AtomicFile file(folder / "out");
    file.write("new");
    EXPECT_EQ(test::read_file(folder / "out"), "old");
  }
  EXPECT_EQ(test::read_file(folder / "out"), "old");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(AtomicFile, ReplacesAnOldFileWhole) {
  const test::TemporaryFolder folder;
  save(folder / "out", "a long old text");
  save(folder / "out", "new");
  EXPECT_EQ(test::read_file(folder / "out"), "new");
}

TEST(AtomicFile, TwoWritersDoNotMix) {
  const test::TemporaryFolder folder;
  AtomicFile first(folder / "out");
  AtomicFile second(folder / "out");
  first.write("first");
  second.write("second");
  second.commit();
  first.commit();
  EXPECT_EQ(test::read_file(folder / "out"), "first");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(AtomicFile, FollowsALinkAndKeepsIt) {
  const test::TemporaryFolder folder;
  save(folder / "real", "old");
  fs::create_symlink("real", folder / "link");
  save(folder / "link", "new");
  EXPECT_TRUE(fs::is_symlink(folder / "link"));
  EXPECT_EQ(test::read_file(folder / "real"), "new");
}

TEST(AtomicFile, ANameMayBeAsLongAsTheSystemAllows) {
  const test::TemporaryFolder folder;
  save(folder / std::string(255, 'n'), "text");
  EXPECT_EQ(test::read_file(folder / std::string(255, 'n')), "text");
}

TEST(AtomicFile, TheModeIsThatOfANewFile) {
  const test::TemporaryFolder folder;
  const mode_t old = umask(027);
  save(folder / "out", "text");
  umask(old);
  struct stat status {};
  ASSERT_EQ(stat((folder / "out").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640u);
}

TEST(AtomicFile, AFullDeviceIsOneClearSentence) {
  const std::string message = io_message([] { save("/dev/full", "text"); });
  EXPECT_EQ(message, "/dev/full: cannot write: no space left on device");
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST(AtomicFile, ADeviceIsWrittenDirectly) {
  EXPECT_NO_THROW(save("/dev/null", "text"));
}

TEST(AtomicFile, APipeIsWrittenDirectly) {
  const test::TemporaryFolder folder;
  const fs::path pipe = folder / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const int reader = open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  save(pipe, "through");
  char text[16] = {};
  EXPECT_EQ(read(reader, text, sizeof(text)), 7);
  close(reader);
  EXPECT_STREQ(text, "through");
  EXPECT_TRUE(fs::is_fifo(pipe));
}

TEST(AtomicFile, AFileTooLargeLeavesTheOldOne) {
  const test::TemporaryFolder folder;
  save(folder / "out", "old");
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  const rlimit limit{1000, old_limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  const std::string message =
      io_message([&] { save(folder / "out", std::string(5000, 'x')); });  // first a short write
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  expect_mentions(message, (folder / "out").string());
  expect_mentions(message, "file too large");
  EXPECT_EQ(test::read_file(folder / "out"), "old");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(AtomicFile, RefusesPlacesThatHoldNoFile) {
  const test::TemporaryFolder folder;
  expect_mentions(io_message([&] { AtomicFile file(folder.path()); }), "folder");
  const std::string message = io_message([&] { AtomicFile file((folder / "missing") / "out"); });
  expect_mentions(message, ((folder / "missing") / "out").string());
  expect_mentions(message, "no such file or directory");
}

TEST(AtomicFile, WritingAfterTheCommitIsRefused) {
  const test::TemporaryFolder folder;
  AtomicFile file(folder / "out");
  file.write("text");
  file.commit();
  io_message([&] { file.write("more"); });
  io_message([&] { file.commit(); });
  EXPECT_EQ(test::read_file(folder / "out"), "text");
}

}  // namespace
}  // namespace mamba3
