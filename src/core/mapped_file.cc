#include "core/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <utility>

#include "core/descriptor.h"
#include "core/error.h"

namespace mamba3 {
namespace {

Descriptor open_to_read(const std::filesystem::path& path) {
  // Without O_NONBLOCK a FIFO would wait here for its writer.
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.is_open()) return file;
  const int error = errno;
  if (error == ENOENT) fail(ErrorCode::not_found, "{}: no such file", path.string());
  fail(ErrorCode::io, "{}: cannot open the file: {}", path.string(), system_message(error));
}

std::size_t size_of_regular_file(const Descriptor& file, const std::filesystem::path& path) {
  struct stat status {};
  if (fstat(file.number(), &status) != 0) {
    fail(ErrorCode::io, "{}: cannot find the file's size: {}", path.string(), system_message(errno));
  }
  if (S_ISDIR(status.st_mode)) fail(ErrorCode::io, "{}: expected a file, found a folder", path.string());
  if (!S_ISREG(status.st_mode)) {
    fail(ErrorCode::io, "{}: expected a regular file, found a pipe, socket or device", path.string());
  }
  return static_cast<std::size_t>(status.st_size);
}

// Where the mappings of this process lie: address to size.
class Mappings {
 public:
  void add(const std::byte* data, std::size_t size) {
    const std::lock_guard lock(mutex_);
    sizes_[data] = size;
  }
  void remove(const std::byte* data) {
    const std::lock_guard lock(mutex_);
    sizes_.erase(data);
  }
  /// The mapping that holds `bytes`; empty when there is none.
  std::span<const std::byte> around(std::span<const std::byte> bytes) {
    const std::lock_guard lock(mutex_);
    const auto after = sizes_.upper_bound(bytes.data());
    if (after == sizes_.begin()) return {};
    const auto& [data, size] = *std::prev(after);
    if (bytes.data() + bytes.size() > data + size) return {};
    return {data, size};
  }

 private:
  std::mutex mutex_;
  std::map<const std::byte*, std::size_t> sizes_;
};

Mappings& mappings() {
  static Mappings all;
  return all;
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file = open_to_read(path);
  const std::size_t size = size_of_regular_file(file, path);
  if (size == 0) return;  // mmap refuses a length of zero
  void* const address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.number(), 0);
  if (address == MAP_FAILED) {
    fail(ErrorCode::io, "{}: cannot map {} bytes into memory: {}", path.string(), size,
         system_message(errno));
  }
  data_ = static_cast<const std::byte*>(address);
  size_ = size;
  mappings().add(data_, size_);
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  mappings().remove(data_);
  munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void give_back_pages(std::span<const std::byte> bytes) {
  const auto mapping = mappings().around(bytes);
  if (mapping.empty()) return;
  // The system maps what it has in one piece, 2 MB at most, when a byte of it is touched: neighbours go with
  // it.
  constexpr std::size_t kPiece = std::size_t{2} << 20;
  const auto first = static_cast<std::size_t>(bytes.data() - mapping.data()) / kPiece * kPiece;
  const auto last = static_cast<std::size_t>(bytes.data() + bytes.size() - mapping.data());
  const std::size_t end = std::min((last + kPiece - 1) / kPiece * kPiece, mapping.size());
  // The call takes pages as writable, and does not write.
  madvise(const_cast<std::byte*>(mapping.data()) + first, end - first, MADV_DONTNEED);
}

}  // namespace mamba3
