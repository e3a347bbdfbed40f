// What several tests need: where the data lies, and folders that vanish.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

namespace mamba3::test {

/// The goldens in the repository.
inline std::filesystem::path fixtures() {
  return MAMBA3_FIXTURES;
}

/// Reference models and corpus live outside the repository; the variable MAMBA3_TEST_DATA names their folder.
inline std::optional<std::filesystem::path> test_data() {
  const char* folder = std::getenv("MAMBA3_TEST_DATA");
  if (folder == nullptr || *folder == '\0') return std::nullopt;
  return std::filesystem::path(folder);
}

#define MAMBA3_NEEDS_TEST_DATA(name)                                                                      \
  const auto name##_found = ::mamba3::test::test_data();                                                  \
  if (!name##_found) GTEST_SKIP() << "MAMBA3_TEST_DATA is not set: reference models and corpus not here"; \
  const std::filesystem::path name = *name##_found

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A folder of its own for one test, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mamba3-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace mamba3::test
