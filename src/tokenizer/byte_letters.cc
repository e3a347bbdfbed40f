#include "tokenizer/byte_letters.h"

#include <array>
#include <cstdint>

#include "core/utf8.h"

namespace mamba3 {
namespace {

constexpr int kFirstSubstitute = 256;  // letters for bytes that do not print: U+0100, U+0101, ...
constexpr int kSubstitutes = 68;

constexpr bool prints(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

struct Letters {
  std::array<char32_t, 256> of_byte{};
  std::array<std::int16_t, kFirstSubstitute + kSubstitutes> byte_of{};  // -1: no byte's letter
};

constexpr Letters make_letters() {
  Letters letters;
  letters.byte_of.fill(-1);
  int substitute = kFirstSubstitute;
  for (int byte = 0; byte < 256; ++byte) {
    const int letter = prints(byte) ? byte : substitute++;
    letters.of_byte[static_cast<std::size_t>(byte)] = static_cast<char32_t>(letter);
    letters.byte_of[static_cast<std::size_t>(letter)] = static_cast<std::int16_t>(byte);
  }
  return letters;
}

constexpr Letters kLetters = make_letters();

}  // namespace

void append_spelled(std::string& spelled, unsigned char byte) {
  append_utf8(spelled, kLetters.of_byte[byte]);
}

std::string spell_bytes(std::string_view bytes) {
  std::string spelled;
  spelled.reserve(2 * bytes.size());
  for (const char byte : bytes) append_spelled(spelled, static_cast<unsigned char>(byte));
  return spelled;
}

std::optional<std::string> unspell_bytes(std::string_view spelled) {
  std::string bytes;
  bytes.reserve(spelled.size());
  while (!spelled.empty()) {
    const Utf8Char letter = first_utf8(spelled);
    if (letter.kind != Utf8Char::Kind::valid || letter.code >= kLetters.byte_of.size()) return std::nullopt;
    const int byte = kLetters.byte_of[letter.code];
    if (byte < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(byte));
    spelled.remove_prefix(letter.length);
  }
  return bytes;
}

}  // namespace mamba3
