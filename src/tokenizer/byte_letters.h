// The printable letters that byte-level tokenizers write for bytes: "Ġthe" stands for " the".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mamba3 {

/// One letter (one or two bytes of UTF-8) for each byte.
std::string spell_bytes(std::string_view bytes);
void append_spelled(std::string& spelled, unsigned char byte);

/// The bytes that a spelling stands for; nothing when a character in it is no byte's letter.
std::optional<std::string> unspell_bytes(std::string_view spelled);

}  // namespace mamba3
