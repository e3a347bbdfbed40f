#include "formats/torch_zip.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/error.h"
#include "formats/shown.h"

namespace mamba3 {
namespace {

constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kEntrySignature = 0x02014b50;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint32_t kLocator64Signature = 0x07064b50;
constexpr std::uint64_t kEndBytes = 22;
constexpr std::uint64_t kEnd64Bytes = 56;
constexpr std::uint64_t kLocator64Bytes = 20;
constexpr std::uint64_t kEntryBytes = 46;
constexpr std::uint64_t kLocalBytes = 30;
constexpr std::uint64_t kMaxComment = 0xffff;
constexpr std::uint32_t kIn64 = 0xffffffff;  ///< the value stands in the zip64 record
constexpr std::uint16_t kId64 = 1;           ///< of the zip64 record among an entry's extra fields
constexpr std::uint16_t kEncrypted = 1;

/// A number in the file. Precondition: it lies within the bytes.
template <typename T>
T number(std::span<const std::byte> bytes, std::uint64_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

std::string_view text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Where the central directory lies.
struct Directory {
  std::uint64_t offset;
  std::uint64_t size;
  std::uint64_t entries;
};

/// One row of the central directory.
struct Entry {
  std::string_view name;
  std::uint16_t flags;
  std::uint16_t method;
  std::uint32_t crc;
  std::uint64_t stored_size;
  std::uint64_t size;
  std::uint64_t offset;  ///< of the local header
};

class ZipReader {
 public:
  ZipReader(std::span<const std::byte> bytes, std::string_view file) : bytes_(bytes), file_(file) {}

  std::map<std::string, ZipMember> read() {
    const Directory directory = find_directory();
    auto rows = bytes_.subspan(directory.offset, directory.size);
    std::map<std::string, ZipMember> members;
    for (std::uint64_t i = 0; i < directory.entries; ++i) {
      const Entry entry = take_entry(rows);
      const ZipMember member{bytes_of(entry, directory.offset), entry.crc};
      if (!members.emplace(entry.name, member).second) bad("the member {} occurs twice", shown(entry.name));
    }
    return members;
  }

 private:
  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> message, Args&&... args) const {
    fail(ErrorCode::bad_format, "{}: {}", file_, fmt::format(message, std::forward<Args>(args)...));
  }

  bool inside(std::uint64_t at, std::uint64_t size) const {
    return at <= bytes_.size() && size <= bytes_.size() - at;
  }

  bool has_signature(std::uint64_t at, std::uint64_t record_bytes, std::uint32_t signature) const {
    return inside(at, record_bytes) && number<std::uint32_t>(bytes_, at) == signature;
  }

  /// The end record stands last, behind it only its own comment.
  std::optional<std::uint64_t> find_end() const {
    for (std::uint64_t comment = 0; comment <= kMaxComment && inside(0, kEndBytes + comment); ++comment) {
      const std::uint64_t at = bytes_.size() - kEndBytes - comment;
      if (has_signature(at, kEndBytes, kEndSignature) && number<std::uint16_t>(bytes_, at + 20) == comment)
        return at;
    }
    return std::nullopt;
  }

  Directory find_directory() const {
    const auto end = find_end();
    if (!end)
      bad("no zip directory at the end: a truncated file, or not one that torch.save of PyTorch 1.6 or later "
          "wrote");
    const bool wide = *end >= kLocator64Bytes &&
                      has_signature(*end - kLocator64Bytes, kLocator64Bytes, kLocator64Signature);
    const Directory directory = wide ? directory64(*end - kLocator64Bytes) : directory32(*end);
    if (directory.offset > *end || directory.size > *end - directory.offset) {
      bad("the zip directory claims {} bytes at {}, outside the file of {} bytes", directory.size,
          directory.offset, bytes_.size());
    }
    return directory;
  }

  Directory directory32(std::uint64_t at) const {
    check_one_part(number<std::uint16_t>(bytes_, at + 4), number<std::uint16_t>(bytes_, at + 6));
    return {.offset = number<std::uint32_t>(bytes_, at + 16),
            .size = number<std::uint32_t>(bytes_, at + 12),
            .entries = number<std::uint16_t>(bytes_, at + 10)};
  }

  Directory directory64(std::uint64_t locator) const {
    const auto at = number<std::uint64_t>(bytes_, locator + 8);
    if (!has_signature(at, kEnd64Bytes, kEnd64Signature))
      bad("the zip64 end record is not at byte {}, where it should be", at);
    check_one_part(number<std::uint32_t>(bytes_, at + 16), number<std::uint32_t>(bytes_, at + 20));
    return {.offset = number<std::uint64_t>(bytes_, at + 48),
            .size = number<std::uint64_t>(bytes_, at + 40),
            .entries = number<std::uint64_t>(bytes_, at + 32)};
  }

  void check_one_part(std::uint32_t disk, std::uint32_t directory_disk) const {
    if (disk != 0 || directory_disk != 0)
      bad("one part of a zip archive of several parts, expected a whole one");
  }

  std::span<const std::byte> take(std::span<const std::byte>& from, std::uint64_t size) const {
    if (size > from.size()) bad("the zip directory ends inside a row");
    const auto taken = from.first(size);
    from = from.subspan(size);
    return taken;
  }

  Entry take_entry(std::span<const std::byte>& rows) const {
    const auto fixed = take(rows, kEntryBytes);
    if (number<std::uint32_t>(fixed, 0) != kEntrySignature)
      bad("the zip directory has a row that does not begin as one");
    Entry entry{.name = text(take(rows, number<std::uint16_t>(fixed, 28))),
                .flags = number<std::uint16_t>(fixed, 8),
                .method = number<std::uint16_t>(fixed, 10),
                .crc = number<std::uint32_t>(fixed, 16),
                .stored_size = number<std::uint32_t>(fixed, 20),
                .size = number<std::uint32_t>(fixed, 24),
                .offset = number<std::uint32_t>(fixed, 42)};
    widen(entry, take(rows, number<std::uint16_t>(fixed, 30)));
    take(rows, number<std::uint16_t>(fixed, 32));
    return entry;
  }

  /// Replaces the values that did not fit in 32 bits; the zip64 record holds only those, in this order.
  void widen(Entry& entry, std::span<const std::byte> extra) const {
    std::span<const std::byte> record = record64(extra);
    for (std::uint64_t* const value : {&entry.size, &entry.stored_size, &entry.offset}) {
      if (*value != kIn64) continue;
      if (record.size() < sizeof(std::uint64_t))
        bad("the member {} has no zip64 record for its large values", shown(entry.name));
      *value = number<std::uint64_t>(record, 0);
      record = record.subspan(sizeof(std::uint64_t));
    }
  }

  static std::span<const std::byte> record64(std::span<const std::byte> extra) {
    constexpr std::size_t kHead = 4;
    while (extra.size() >= kHead) {
      const auto id = number<std::uint16_t>(extra, 0);
      const std::size_t size = std::min<std::size_t>(number<std::uint16_t>(extra, 2), extra.size() - kHead);
      if (id == kId64) return extra.subspan(kHead, size);
      extra = extra.subspan(kHead + size);
    }
    return {};
  }

  /// The member's bytes, which lie before `limit`.
  std::span<const std::byte> bytes_of(const Entry& entry, std::uint64_t limit) const {
    if ((entry.flags & kEncrypted) != 0) {
      fail(ErrorCode::unsupported, "{}: the member {} is encrypted", file_, shown(entry.name));
    }
    if (entry.method != 0) {
      fail(ErrorCode::unsupported, "{}: the member {} is compressed (method {}), expected a stored one",
           file_, shown(entry.name), entry.method);
    }
    if (entry.stored_size != entry.size) {
      bad("the member {} has {} bytes, but {} are stored", shown(entry.name), entry.size, entry.stored_size);
    }
    if (!has_signature(entry.offset, kLocalBytes, kLocalSignature)) {
      bad("the member {} does not begin at byte {}, where the zip directory puts it", shown(entry.name),
          entry.offset);
    }
    const std::uint64_t name_bytes = number<std::uint16_t>(bytes_, entry.offset + 26);
    const std::uint64_t extra_bytes = number<std::uint16_t>(bytes_, entry.offset + 28);
    const std::uint64_t begin = entry.offset + kLocalBytes + name_bytes + extra_bytes;
    if (begin > limit || entry.size > limit - begin) {
      bad("the member {} of {} bytes does not fit before the zip directory", shown(entry.name), entry.size);
    }
    if (text(bytes_.subspan(entry.offset + kLocalBytes, name_bytes)) != entry.name) {
      bad("the member {} has another name in its own header", shown(entry.name));
    }
    return bytes_.subspan(begin, entry.size);
  }

  std::span<const std::byte> bytes_;
  std::string_view file_;
};

}  // namespace

std::map<std::string, ZipMember> read_stored_zip(std::span<const std::byte> bytes, std::string_view file) {
  return ZipReader(bytes, file).read();
}

}  // namespace mamba3
