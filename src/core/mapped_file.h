// A whole file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace mamba3 {

/// Owns the mapping. Throws Error (not_found, io) with the path when the file is missing, is no regular file,
/// or cannot be mapped. An empty file gives an empty span.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Tells the system that the pages of `bytes`, and those that it maps along with them, are not needed for
/// now, so that they stop counting as this process's memory; reading them again brings them back. Nothing
/// happens to bytes that are no part of a MappedFile.
void give_back_pages(std::span<const std::byte> bytes);

}  // namespace mamba3
