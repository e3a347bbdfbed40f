// The zip archive around a torch.save file, its members in place.
// Source: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3 and 4.5.3
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace mamba3 {

/// A stored member: its bytes in the archive, and the CRC-32 that the directory gives for them.
struct ZipMember {
  std::span<const std::byte> bytes;
  std::uint32_t crc = 0;
};

/// Members by name, as views into `bytes`. zip64 is understood; a compressed or encrypted member, an archive
/// of several parts, a name that occurs twice, and everything that points outside the file is Error, whose
/// message begins with `file`. CRCs are not compared.
std::map<std::string, ZipMember> read_stored_zip(std::span<const std::byte> bytes, std::string_view file);

}  // namespace mamba3
