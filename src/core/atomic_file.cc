#include "core/atomic_file.h"

#include <fcntl.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "core/error.h"

namespace mamba3 {
namespace {

namespace fs = std::filesystem;

/// True when the descriptor's bytes are on the disk, or when it is of a kind that has none (a device, a
/// pipe).
bool synced(const Descriptor& file) {
  int result;
  do {
    result = fsync(file.number());
  } while (result != 0 && errno == EINTR);
  return result == 0 || errno == EINVAL || errno == EROFS || errno == ENOTSUP;
}

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

fs::path temporary_name() {
  static std::atomic<unsigned> counter{0};
  return fmt::format(".mamba3-{}-{}.tmp", getpid(), counter++);
}

fs::path followed(const fs::path& target) {
  std::error_code ignored;
  if (!fs::is_symlink(target, ignored)) return target;
  const fs::path end = fs::canonical(target, ignored);
  return end.empty() ? target : end;
}

}  // namespace

AtomicFile::AtomicFile(fs::path target) : target_(std::move(target)), final_(followed(target_)) {
  std::error_code error;
  const fs::file_status status = fs::status(final_, error);
  if (fs::is_directory(status))
    fail(ErrorCode::io, "{}: expected a file to write, found a folder", target_.string());
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    file_ = Descriptor(open(final_.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file_.is_open()) fail_with("open it for writing", errno);
  } else {
    create_temporary();
  }
}

AtomicFile::~AtomicFile() {
  file_.close();
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::create_temporary() {
  // The name does not contain the target's, which may already be as long as the file system allows.
  for (;;) {
    const fs::path candidate = folder_of(final_) / temporary_name();
    file_ = Descriptor(open(candidate.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (file_.is_open()) {
      temporary_ = candidate;
      listed_.emplace(candidate.string());
      return;
    }
    if (errno != EEXIST && errno != EINTR) fail_with("create a file there", errno);
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file_.number(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_with("write", errno);
    position_ += written;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

void AtomicFile::write(std::string_view text) {
  write(std::as_bytes(std::span(text)));
}

void AtomicFile::commit() {
  if (!synced(file_)) fail_with("write", errno);
  if (!file_.close()) fail_with("write", errno);
  if (temporary_.empty()) return;
  if (std::rename(temporary_.c_str(), final_.c_str()) != 0)
    fail_with("move the finished file into place", errno);
  temporary_.clear();
  listed_.reset();
  sync_folder();
}

void AtomicFile::sync_folder() const {
  const Descriptor folder(open(folder_of(final_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A folder that may be written and not read is legal; the rename stands, only its durability is unknown.
  if (folder.is_open() && !synced(folder)) fail_with("sync its folder", errno);
}

void AtomicFile::fail_with(std::string_view action, int error_number) const {
  fail(ErrorCode::io, "{}: cannot {}: {}", target_.string(), action, system_message(error_number));
}

}  // namespace mamba3
