#include "tokenizer/oniguruma.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <optional>
#include <vector>

#include "core/error.h"
#include "core/utf8.h"
#include "tokenizer/regex.h"

namespace mamba3 {
namespace {

constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kWord = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";
// Alone, outside a class, Oniguruma counts these as word characters too: superscripts and fractions of
// Latin-1.
constexpr std::string_view kWordAlone = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";
constexpr std::string_view kHex = "0-9A-Fa-f";
struct PosixClass {
  std::string_view name;
  std::string_view items;
};
constexpr PosixClass kPosix[] = {
    {"[:alnum:]", R"(\p{Alphabetic}\p{Nd})"},
    {"[:alpha:]", R"(\p{Alphabetic})"},
    {"[:lower:]", R"(\p{Lowercase})"},
    {"[:punct:]", R"(\p{P}\p{S})"},
    {"[:space:]", kSpace},
    {"[:upper:]", R"(\p{Uppercase})"},
    {"[:word:]", kWord},
};
constexpr int kDeepestClass = 32;

/// One character out of a set: PCRE2 class items, or else one of some expressions of one character each.
struct CharSet {
  std::string items;
  std::vector<std::string> others;
  bool empty() const { return items.empty() && others.empty(); }
};

/// A group for one character that `any` matches, or does not.
std::string group(const std::string& any, bool negated) {
  return negated ? fmt::format("(?:(?!{})(?s:.))", any) : fmt::format("(?:{})", any);
}

std::string expression(const CharSet& set, bool negated) {
  if (set.others.empty()) return fmt::format("[{}{}]", negated ? "^" : "", set.items);
  std::vector<std::string> choices = set.others;
  if (!set.items.empty()) choices.push_back(fmt::format("[{}]", set.items));
  return group(fmt::format("{}", fmt::join(choices, "|")), negated);
}

class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where) : rest_(pattern), where_(where) {}

  std::string run() {
    while (!rest_.empty()) {
      if (!quantifier()) atom();
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void wrong(std::string_view what) const {
    fail(ErrorCode::bad_format, "{}: the regular expression has {}", where_, what);
  }

  bool take(std::string_view text) {
    if (rest_.substr(0, text.size()) != text) return false;
    rest_.remove_prefix(text.size());
    return true;
  }

  std::string_view take_bytes(std::size_t count) {
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(taken.size());
    return taken;
  }

  std::string_view take_char() { return take_bytes(first_utf8(rest_).length); }

  /// Up to and with `last`; everything when it is not there (PCRE2 then names the fault).
  std::string_view take_through(char last) {
    const std::size_t at = rest_.find(last);
    return take_bytes(at == std::string_view::npos ? rest_.size() : at + 1);
  }

  // Outside classes
  // ------------------------------------------------------------------------------------------

  void atom() {
    if (take("(")) return open_group();
    if (take(")")) {
      atom_ = groups_.empty() ? out_.size() : groups_.back();
      if (!groups_.empty()) groups_.pop_back();
      out_ += ')';
      return;
    }
    if (std::string_view("*+?").find(rest_[0]) != std::string_view::npos) {
      out_ += take_bytes(1);
      return;
    }
    atom_ = out_.size();
    if (take("[")) {
      out_ += char_class(0);
    } else if (take("\\")) {
      out_ += escape();
    } else if (take("{")) {
      out_ += "\\{";
    } else {
      out_ += take_char();
    }
  }

  void open_group() {
    if (rest_.substr(0, 2) == "?#") {
      take_through(')');
      return;
    }
    const std::size_t start = out_.size();
    out_ += '(';
    if (take("?")) {
      out_ += '?';
      while (!rest_.empty() && std::string_view("imx-").find(rest_[0]) != std::string_view::npos) {
        const char option = take_bytes(1)[0];
        out_ += option == 'm' ? 's' : option;
      }
      if (out_.back() != '?' && take(")")) {  // (?i): options for the rest of the group
        out_ += ')';
        return;
      }
    }
    groups_.push_back(start);
  }

  std::string escape() {
    if (rest_.empty()) return "\\";
    if (take("s")) return fmt::format("[{}]", kSpace);
    if (take("S")) return fmt::format("[^{}]", kSpace);
    if (take("w")) return fmt::format("[{}]", kWordAlone);
    if (take("W")) return fmt::format("[^{}]", kWordAlone);
    if (take("h")) return fmt::format("[{}]", kHex);
    if (take("H")) return fmt::format("[^{}]", kHex);
    if (take("b")) return word_edge(true);
    if (take("B")) return word_edge(false);
    return plain_escape();
  }

  /// "{Han}" becomes "{sc:Han}": the bare name of a script also means its extensions to PCRE2.
  static std::string script_or(std::string_view name) {
    const bool negated = name.substr(0, 2) == "{^";
    const std::string script = fmt::format("{{{}sc:{}", negated ? "^" : "", name.substr(negated ? 2 : 1));
    return pcre2_compiles("\\p" + script) ? script : std::string(name);
  }

  static std::string word_edge(bool is_edge) {
    return fmt::format("(?:(?<=[{0}])(?{1}[{0}])|(?<![{0}])(?{2}[{0}]))", kWordAlone, is_edge ? "!" : "=",
                       is_edge ? "=" : "!");
  }

  /// What stands behind a backslash and is read alike inside and outside classes, and by both libraries.
  std::string plain_escape() {
    if (take("v")) return R"(\x{b})";
    if (take("u")) return fmt::format(R"(\x{{{}}})", take_bytes(4));
    const bool property = rest_[0] == 'p' || rest_[0] == 'P';
    const bool braces = (property || rest_[0] == 'x') && rest_.substr(1, 1) == "{";
    std::string text = "\\";
    text += take_char();
    if (!braces) return text;
    const std::string_view name = take_through('}');
    text += property ? script_or(name) : std::string(name);
    return text;
  }

  /// Intervals, and the quantifiers after which PCRE2 would read on alike.
  bool quantifier() {
    if (rest_[0] != '{') return false;
    const auto interval = take_interval();
    if (!interval) return false;
    out_ += *interval;
    const bool fixed = interval->find(',') == std::string::npos;
    if (!rest_.empty() && (rest_[0] == '+' || (fixed && rest_[0] == '?'))) {
      out_.insert(atom_, "(?:");
      out_ += ')';
      out_ += take_bytes(1);
    }
    return true;
  }

  std::optional<std::string> take_interval() {
    const std::size_t end = rest_.find('}');
    if (end == std::string_view::npos) return std::nullopt;
    const std::string_view inside = rest_.substr(1, end - 1);
    const std::size_t comma = inside.find(',');
    const auto digits = [](std::string_view text) {
      return text.find_first_not_of("0123456789") == std::string_view::npos;
    };
    const std::string_view least = inside.substr(0, comma);
    const std::string_view most = comma == std::string_view::npos ? "" : inside.substr(comma + 1);
    if (!digits(least) || !digits(most) || (least.empty() && most.empty())) return std::nullopt;
    rest_.remove_prefix(end + 1);
    return fmt::format("{{{}{}{}}}", least.empty() ? "0" : least, comma == std::string_view::npos ? "" : ",",
                       most);
  }

  // Classes
  // --------------------------------------------------------------------------------------------------

  /// Behind the opening bracket, to and with the closing one.
  std::string char_class(int depth) {
    if (depth > kDeepestClass) wrong("character classes nested too deep");
    const bool negated = take("^");
    std::vector<std::string> parts;  // of an intersection, all but the last
    CharSet set;
    bool first = true;
    while (first || !take("]")) {
      if (rest_.empty()) wrong("a character class without its closing bracket");
      if (take("&&")) {
        if (set.empty()) wrong("an empty part in an intersection of character classes");
        parts.push_back(fmt::format("(?={})", expression(set, false)));
        set = {};
      } else {
        add_item(set, depth, first);
      }
      first = false;
    }
    if (set.empty()) wrong("an empty character class");
    if (parts.empty()) return expression(set, negated);
    std::string all;
    for (const std::string& part : parts) all += part;
    all += expression(set, false);
    return group(all, negated);
  }

  void add_item(CharSet& set, int depth, bool first) {
    if (rest_[0] == '[' && rest_.substr(1, 1) == ":") {
      if (const std::size_t end = rest_.find(":]"); end != std::string_view::npos) {
        return add_posix(set, take_bytes(end + 2));
      }
    }
    if (take("[")) {
      set.others.push_back(char_class(depth + 1));
      return;
    }
    if (add_escaped_set(set)) return;
    const std::string low = one_char();
    set.items += low;
    const bool range = rest_.size() > 1 && rest_[0] == '-' && rest_[1] != ']' && rest_[1] != '[';
    if (!range || is_set_escape(rest_.substr(1))) return;
    take("-");
    set.items += '-';
    set.items += one_char();
  }

  static void add_posix(CharSet& set, std::string_view name) {
    const auto same =
        std::find_if(std::begin(kPosix), std::end(kPosix), [&](const auto& one) { return one.name == name; });
    set.items += same == std::end(kPosix) ? name : same->items;
  }

  static bool is_set_escape(std::string_view text) {
    return text.size() > 1 && text[0] == '\\' &&
           std::string_view("sSwWhHdDpP").find(text[1]) != std::string_view::npos;
  }

  bool add_escaped_set(CharSet& set) {
    if (!is_set_escape(rest_)) return false;
    take("\\");
    if (take("s")) {
      set.items += kSpace;
    } else if (take("S")) {
      set.items += R"(\S\x{180e})";
    } else if (take("w")) {
      set.items += kWord;
    } else if (take("h")) {
      set.items += kHex;
    } else if (take("W")) {
      set.others.push_back(fmt::format("[^{}]", kWord));
    } else if (take("H")) {
      set.others.push_back(fmt::format("[^{}]", kHex));
    } else {
      set.items += plain_escape();
    }
    return true;
  }

  /// One character of a class, spelled so that PCRE2 reads nothing else into it.
  std::string one_char() {
    if (take("\\")) {
      if (rest_.empty()) wrong("a backslash at its end");
      return plain_escape();
    }
    const std::string_view c = take_char();
    const bool escaped = std::ispunct(static_cast<unsigned char>(c[0])) != 0;
    return fmt::format("{}{}", escaped ? "\\" : "", c);
  }

  std::string_view rest_;
  std::string_view where_;
  std::string out_;
  std::size_t atom_ = 0;             // where the last atom starts in out_
  std::vector<std::size_t> groups_;  // where the open groups start
};

}  // namespace

std::string pcre2_from_oniguruma(std::string_view pattern, std::string_view where) {
  check_utf8(pattern, where);
  return Translator(pattern, where).run();
}

}  // namespace mamba3
