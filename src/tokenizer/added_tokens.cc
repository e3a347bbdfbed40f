#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/utf8.h"

namespace mamba3 {
namespace {

constexpr std::size_t kLongestContent = 4096;  // bounds the search at each place in a text

/// Unicode's White_Space.
bool is_space(char32_t code) {
  return (code >= 0x9 && code <= 0xd) || code == 0x20 || code == 0x85 || code == 0xa0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f ||
         code == 0x205f || code == 0x3000;
}

std::size_t last_char_start(std::string_view text) {
  std::size_t at = text.size() - 1;
  while ((static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

std::size_t spaces_before(std::string_view text) {
  std::size_t begin = text.size();
  while (begin > 0) {
    const std::size_t last = last_char_start(text.substr(0, begin));
    if (!is_space(first_utf8(text.substr(last)).code)) break;
    begin = last;
  }
  return text.size() - begin;
}

std::size_t spaces_after(std::string_view text) {
  std::size_t end = 0;
  while (end < text.size()) {
    const Utf8Char next = first_utf8(text.substr(end));
    if (!is_space(next.code)) break;
    end += next.length;
  }
  return end;
}

AddedToken read_added_token(const JsonNode& node) {
  const JsonNode id = node.at("id");
  if (id.integer() < 0 || id.integer() > std::numeric_limits<TokenId>::max()) {
    fail(ErrorCode::bad_format, "{} is {}, expected a token id", id.where(), id.integer());
  }
  const JsonNode content = node.at("content");
  if (content.string().size() > kLongestContent) {
    fail(ErrorCode::unsupported, "{} has {} bytes, at most {} are allowed", content.where(),
         content.string().size(), kLongestContent);
  }
  const bool special = node.flag("special", false);
  return {.id = static_cast<TokenId>(id.integer()),
          .content = content.string(),
          .special = special,
          .single_word = node.flag("single_word", false),
          .lstrip = node.flag("lstrip", false),
          .rstrip = node.flag("rstrip", false),
          .normalized = node.flag("normalized", !special)};
}

}  // namespace

std::vector<AddedToken> read_added_tokens(const JsonNode& node) {
  std::vector<AddedToken> tokens;
  for (std::size_t i = 0; i < node.array_size(); ++i) tokens.push_back(read_added_token(node.item(i)));
  return tokens;
}

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)),
      word_(Regex::oniguruma(R"(\G[\w\x{200c}\x{200d}])", "the definition of word characters")) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::sort(tokens_.begin(), tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (const AddedToken& token : tokens_) starts_[static_cast<unsigned char>(token.content[0])] = true;
}

const AddedToken* AddedTokenFinder::longest_at(std::string_view text) const {
  const AddedToken* found = nullptr;
  auto low = tokens_.begin();
  auto high = tokens_.end();
  for (std::size_t depth = 0; depth < text.size() && low != high;
       ++depth) {  // [low, high) begin as the text does
    const auto next = static_cast<unsigned char>(text[depth]);
    const auto byte = [&](const AddedToken& token) {
      return static_cast<unsigned char>(token.content[depth]);
    };
    low = std::partition_point(low, high, [&](const AddedToken& token) {
      return token.content.size() <= depth || byte(token) < next;
    });
    high = std::partition_point(low, high, [&](const AddedToken& token) { return byte(token) == next; });
    if (low != high && low->content.size() == depth + 1) found = &*low;
  }
  return found;
}

bool AddedTokenFinder::touches_word(std::string_view text, Span match, Matcher& matcher) const {
  if (match.begin > 0 && matcher.find(word_, text, last_char_start(text.substr(0, match.begin)))) return true;
  return match.end < text.size() && matcher.find(word_, text, match.end);
}

void AddedTokenFinder::split(std::string_view text, Matcher& matcher, std::vector<Segment>& segments) const {
  std::size_t done = 0;
  std::size_t spaces_end = 0;  // of the last white space walked through: each is walked through once
  std::size_t at = tokens_.empty() ? text.size() : 0;
  while (at < text.size()) {
    const AddedToken* token =
        starts_[static_cast<unsigned char>(text[at])] ? longest_at(text.substr(at)) : nullptr;
    if (token == nullptr) {
      ++at;
      continue;
    }
    Span match{at, at + token->content.size()};
    at = match.end;
    if (token->single_word && touches_word(text, match, matcher)) continue;
    if (token->lstrip) {
      match.begin =
          done < match.begin ? match.begin - spaces_before(text.substr(done, match.begin - done)) : done;
    }
    if (token->rstrip) {
      if (spaces_end < match.end) spaces_end = match.end + spaces_after(text.substr(match.end));
      match.end = spaces_end;
    }
    if (match.begin >= match.end) continue;  // nothing but spaces that the token before took along
    if (done < match.begin) segments.push_back({text.substr(done, match.begin - done), std::nullopt});
    segments.push_back({{}, token->id});
    done = match.end;
  }
  if (done < text.size()) segments.push_back({text.substr(done), std::nullopt});
}

}  // namespace mamba3
