#include "core/utf8.h"

#include <cstdint>
#include <cstring>

#include "core/error.h"

namespace mamba3 {
namespace {

/// The bytes that may follow a lead byte (Unicode table 3-7): how many, and the range of the first of them.
struct Lead {
  int following = -1;
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0x80) return {0};
  if (byte < 0xc2 || byte > 0xf4) return {};
  if (byte < 0xe0) return {1};
  if (byte == 0xe0) return {2, 0xa0, 0xbf};
  if (byte == 0xed) return {2, 0x80, 0x9f};
  if (byte < 0xf0) return {2};
  if (byte == 0xf0) return {3, 0x90, 0xbf};
  if (byte == 0xf4) return {3, 0x80, 0x8f};
  return {3};
}

std::size_t ascii_run(std::string_view text) {
  std::size_t at = 0;
  for (std::uint64_t eight; at + sizeof eight <= text.size(); at += sizeof eight) {
    std::memcpy(&eight, text.data() + at, sizeof eight);
    if ((eight & 0x8080808080808080u) != 0) break;
  }
  while (at < text.size() && static_cast<unsigned char>(text[at]) < 0x80) ++at;
  return at;
}

}  // namespace

Utf8Char first_utf8(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  Lead lead = lead_of(first);
  if (lead.following < 0) return {Utf8Char::Kind::invalid, 1, 0};
  char32_t code = lead.following == 0 ? first : first & (0x3fu >> lead.following);
  for (std::size_t i = 1; i <= static_cast<std::size_t>(lead.following); ++i) {
    if (i == text.size()) return {Utf8Char::Kind::incomplete, i, 0};
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte < lead.low || byte > lead.high) return {Utf8Char::Kind::invalid, i, 0};
    code = code << 6 | (byte & 0x3fu);
    lead.low = 0x80;
    lead.high = 0xbf;
  }
  return {Utf8Char::Kind::valid, static_cast<std::size_t>(lead.following) + 1, code};
}

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  std::size_t at = 0;
  while ((at += ascii_run(text.substr(at))) < text.size()) {
    const Utf8Char next = first_utf8(text.substr(at));
    if (next.kind != Utf8Char::Kind::valid) return at;
    at += next.length;
  }
  return std::nullopt;
}

void check_utf8(std::string_view text, std::string_view what) {
  const auto at = find_invalid_utf8(text);
  if (!at) return;
  fail(ErrorCode::invalid_argument, "{} is not UTF-8: byte 0x{:02X} at offset {}", what,
       static_cast<unsigned char>(text[*at]), *at);
}

void append_utf8(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

std::string take_utf8(std::string& bytes) {
  std::string text;
  text.reserve(bytes.size());
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const Utf8Char next = first_utf8(rest);
    if (next.kind == Utf8Char::Kind::incomplete) break;
    text += next.kind == Utf8Char::Kind::valid ? rest.substr(0, next.length) : kReplacementCharacter;
    rest.remove_prefix(next.length);
  }
  bytes.erase(0, bytes.size() - rest.size());
  return text;
}

}  // namespace mamba3
