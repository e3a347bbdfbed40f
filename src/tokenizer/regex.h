// Unicode regular expressions with limits: PCRE2, compiled once, shared between threads.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;
struct pcre2_real_jit_stack_8;

namespace mamba3 {

class Regex {
 public:
  /// A pattern in Oniguruma's dialect, as tokenizer.json holds them. Throws Error(bad_format) that starts
  /// with `where` when it does not compile.
  static Regex oniguruma(std::string_view pattern, std::string_view where);
  static Regex literal(std::string_view text, std::string_view where);

 private:
  friend class Matcher;
  Regex(std::string_view pattern, unsigned options, std::string_view where);

  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code_;
  bool compiled_to_machine_code_ = false;
  std::string where_;
};

/// Whether PCRE2 knows what stands in a pattern of its own dialect: the name of a property, say.
bool pcre2_compiles(const std::string& pattern);

/// Bytes [begin, end) of a text.
struct Span {
  std::size_t begin;
  std::size_t end;
  bool empty() const { return begin == end; }
};

/// The working memory of matching: one a thread, for any number of expressions.
class Matcher {
 public:
  Matcher();

  /// The first match at or after `from`. `text` must be UTF-8 and `from` the start of a character. Throws
  /// Error(unsupported) when the pattern needs more steps or memory on this text than is allowed.
  std::optional<Span> find(const Regex& regex, std::string_view text, std::size_t from);

 private:
  int match(const Regex& regex, std::string_view text, std::size_t from);

  struct Free {
    void operator()(pcre2_real_match_data_8* data) const;
    void operator()(pcre2_real_match_context_8* context) const;
    void operator()(pcre2_real_jit_stack_8* stack) const;
  };
  std::unique_ptr<pcre2_real_match_data_8, Free> data_;
  std::unique_ptr<pcre2_real_match_context_8, Free> context_;
  std::unique_ptr<pcre2_real_jit_stack_8, Free> stack_;  // may be absent: then matching is interpreted
};

}  // namespace mamba3
