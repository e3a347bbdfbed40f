// Oniguruma's regular expressions, which tokenizer.json files are written for, in PCRE2's dialect.
#pragma once

#include <string>
#include <string_view>

namespace mamba3 {

/// Rewrites what the two read differently, and passes the rest:
/// - \s is White_Space (PCRE2 adds U+180E), \w is Alphabetic, Mark, Nd and Pc, \h is a hexadecimal digit, \v
/// is
///   U+000B, \uHHHH a code point;
/// - classes may hold classes and intersections: [a-z&&[^aeiou]];
/// - x{1,3}+ repeats x{1,3} (PCRE2: a possessive interval), x{,3} is x{0,3}, x{2}? is optional;
/// - (?m) lets the dot match line feeds.
/// To be compiled with UTF, UCP and MULTILINE. Throws Error(bad_format) that starts with `where` for a class
/// that does not end.
std::string pcre2_from_oniguruma(std::string_view pattern, std::string_view where);

}  // namespace mamba3
