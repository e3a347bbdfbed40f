#include "core/mapped_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <utility>

#include "mamba3/error.h"
#include "support.h"

namespace mamba3 {
namespace {

void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

void expect_refused(const std::filesystem::path& path, ErrorCode code, const std::string& mentions) {
  try {
    const MappedFile file(path);
    ADD_FAILURE() << path << " was mapped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find(mentions), std::string::npos) << error.what();
  }
}

TEST(MappedFile, GivesTheBytes) {
  const test::TemporaryFolder folder;
  const std::string text("a\0b\n", 4);
  write_text(folder / "file", text);
  const MappedFile file(folder / "file");
  EXPECT_EQ(text_of(file), text);
  EXPECT_EQ(file.path(), folder / "file");
}

TEST(MappedFile, AnEmptyFileIsAnEmptySpan) {
  const test::TemporaryFolder folder;
  write_text(folder / "empty", "");
  EXPECT_TRUE(MappedFile(folder / "empty").bytes().empty());
}

TEST(MappedFile, MovesItsMapping) {
  const test::TemporaryFolder folder;
  write_text(folder / "one", "one");
  write_text(folder / "two", "two");
  MappedFile first(folder / "one");
  MappedFile second(std::move(first));
  EXPECT_EQ(text_of(second), "one");
  second = MappedFile(folder / "two");
  EXPECT_EQ(text_of(second), "two");
  EXPECT_EQ(second.path(), folder / "two");
}

TEST(MappedFile, OutlivesTheName) {
  const test::TemporaryFolder folder;
  write_text(folder / "file", "still here");
  const MappedFile file(folder / "file");
  std::filesystem::remove(folder / "file");
  EXPECT_EQ(text_of(file), "still here");
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const test::TemporaryFolder folder;
  expect_refused(folder / "missing", ErrorCode::not_found, "no such file");
  expect_refused(folder.path(), ErrorCode::io, "folder");
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_refused(folder / "pipe", ErrorCode::io, "pipe");
  expect_refused("/dev/null", ErrorCode::io, "device");
  expect_refused((folder / "missing") / "inside", ErrorCode::not_found, "no such file");
}

TEST(MappedFile, RefusesWhatMayNotBeRead) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const test::TemporaryFolder folder;
  write_text(folder / "secret", "x");
  chmod((folder / "secret").c_str(), 0);
  expect_refused(folder / "secret", ErrorCode::io, "permission denied");
}

}  // namespace
}  // namespace mamba3
