// UTF-8: checking, stepping through and repairing text.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace mamba3 {

/// What a text begins with. Surrogates, overlong forms and code points above U+10FFFF are invalid.
struct Utf8Char {
  enum class Kind { valid, invalid, incomplete };
  Kind kind;           ///< incomplete: the text ends inside a character that was well formed so far
  std::size_t length;  ///< bytes of the character, or of the longest part that began one (at least 1)
  char32_t code;       ///< the code point, where valid
};

/// Precondition: `text` is not empty.
Utf8Char first_utf8(std::string_view text);

/// Offset of the first byte that is not UTF-8; nothing when all of it is.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

/// Throws Error(invalid_argument): "<what> is not UTF-8: byte 0xNN at offset K".
void check_utf8(std::string_view text, std::string_view what);

void append_utf8(std::string& text, char32_t code);  ///< precondition: a code point, no surrogate

/// Moves the whole characters of `bytes` into the result; each maximal ill-formed part becomes U+FFFD (as in
/// Unicode 3.9 and Rust's from_utf8_lossy). An incomplete character at the end stays in `bytes`.
std::string take_utf8(std::string& bytes);

inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

}  // namespace mamba3
