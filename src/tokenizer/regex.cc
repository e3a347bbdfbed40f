#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/regex.h"

#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <new>

#include "core/error.h"
#include "tokenizer/oniguruma.h"

namespace mamba3 {
namespace {

// Tokenizers' patterns need a few steps a character; these bound a hostile one to about a second and 64 MiB.
constexpr std::uint32_t kMatchLimit = 20'000'000;
constexpr std::uint32_t kDepthLimit = 1'000'000;
constexpr std::uint32_t kHeapLimitKiB = 64 << 10;
constexpr std::size_t kLongestPattern = 64 << 10;
constexpr std::size_t kJitStackStart = 32 << 10;
constexpr std::size_t kJitStackMost = 16 << 20;

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

PCRE2_SPTR units(std::string_view text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

template <typename T>
T* allocated(T* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

}  // namespace

void Regex::Free::operator()(pcre2_code* code) const {
  pcre2_code_free(code);
}
void Matcher::Free::operator()(pcre2_match_data* data) const {
  pcre2_match_data_free(data);
}
void Matcher::Free::operator()(pcre2_match_context* context) const {
  pcre2_match_context_free(context);
}
void Matcher::Free::operator()(pcre2_jit_stack* stack) const {
  pcre2_jit_stack_free(stack);
}

Regex Regex::oniguruma(std::string_view pattern, std::string_view where) {
  return {pcre2_from_oniguruma(pattern, where),
          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, where};
}

Regex Regex::literal(std::string_view text, std::string_view where) {
  return {text, PCRE2_UTF | PCRE2_LITERAL, where};
}

Regex::Regex(std::string_view pattern, unsigned options, std::string_view where) : where_(where) {
  const std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> context(
      allocated(pcre2_compile_context_create(nullptr)), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_max_pattern_length(context.get(), kLongestPattern);
  int error = 0;
  std::size_t offset = 0;
  code_.reset(pcre2_compile(units(pattern), pattern.size(), options, &error, &offset, context.get()));
  if (!code_) {
    const std::string_view before = pattern.substr(0, std::min(offset, pattern.size()));
    fail(ErrorCode::bad_format, "{}: the regular expression does not compile: {} after \"{}\"", where,
         message_of(error), before.substr(before.size() - std::min<std::size_t>(before.size(), 40)));
  }
  compiled_to_machine_code_ = pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE) == 0;
}

bool pcre2_compiles(const std::string& pattern) {
  int error = 0;
  std::size_t offset = 0;
  pcre2_code* code = pcre2_compile(units(pattern), pattern.size(), PCRE2_UTF, &error, &offset, nullptr);
  pcre2_code_free(code);
  return code != nullptr;
}

Matcher::Matcher()
    : data_(allocated(pcre2_match_data_create(1, nullptr))),
      context_(allocated(pcre2_match_context_create(nullptr))),
      stack_(pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr)) {
  pcre2_set_match_limit(context_.get(), kMatchLimit);
  pcre2_set_depth_limit(context_.get(), kDepthLimit);
  pcre2_set_heap_limit(context_.get(), kHeapLimitKiB);
  if (stack_) pcre2_jit_stack_assign(context_.get(), nullptr, stack_.get());
}

int Matcher::match(const Regex& regex, std::string_view text, std::size_t from) {
  if (regex.compiled_to_machine_code_) {
    const int found = pcre2_jit_match(regex.code_.get(), units(text), text.size(), from, PCRE2_NO_UTF_CHECK,
                                      data_.get(), context_.get());
    if (found != PCRE2_ERROR_JIT_STACKLIMIT) return found;
  }
  return pcre2_match(regex.code_.get(), units(text), text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                     data_.get(), context_.get());
}

std::optional<Span> Matcher::find(const Regex& regex, std::string_view text, std::size_t from) {
  const int found = match(regex, text, from);
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (found < 0) {
    fail(ErrorCode::unsupported,
         "{}: the regular expression is too costly on this text: {} (searching from offset {})", regex.where_,
         message_of(found), from);
  }
  const std::size_t* bounds = pcre2_get_ovector_pointer(data_.get());
  if (bounds[0] < from || bounds[1] < bounds[0]) {  // \K and lookbehind can do that
    fail(ErrorCode::unsupported, "{}: the regular expression matches backwards", regex.where_);
  }
  return Span{bounds[0], bounds[1]};
}

}  // namespace mamba3
