// Writes a file so that its final name never holds half of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include "core/descriptor.h"
#include "core/temporaries.h"

namespace mamba3 {

/// Writes beside the target under a temporary name; commit() syncs and renames. Without commit (an exception,
/// a full disk, in a program that asked for it also a signal: core/temporaries.h) the temporary file is
/// removed and the target is as it was. A symbolic link stays, and the file it leads to is replaced. A target
/// that exists and is no regular file (a device, a pipe) cannot be replaced and is written directly. Every
/// failure is Error(io) with the target's name and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);  ///< throws Error(io) when the folder cannot be written
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);  ///< appends; throws Error(io), "no space left" included
  void write(std::string_view text);
  std::int64_t position() const { return position_; }  ///< bytes written so far
  void commit();                                       ///< once, after the last write

 private:
  void create_temporary();
  void sync_folder() const;
  [[noreturn]] void fail_with(std::string_view action, int error_number) const;

  std::filesystem::path target_;     ///< as given, for messages
  std::filesystem::path final_;      ///< the file to replace: the target, links followed
  std::filesystem::path temporary_;  ///< empty when the target is written directly, and after the rename
  std::optional<Temporary> listed_;  ///< while temporary_ exists
  Descriptor file_;
  std::int64_t position_ = 0;
};

}  // namespace mamba3
