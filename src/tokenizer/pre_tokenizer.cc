#include "tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "core/error.h"
#include "core/utf8.h"
#include "tokenizer/byte_letters.h"

namespace mamba3 {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

/// Calls emit(span, is_match) for every match and every stretch between matches. After an empty match the
/// search goes on one character further.
template <typename Emit>
void for_each_stretch(const Regex& regex, Matcher& matcher, std::string_view text, Emit emit) {
  std::size_t done = 0;
  std::size_t from = 0;
  std::size_t last_end = std::numeric_limits<std::size_t>::max();
  while (from <= text.size()) {
    const auto match = matcher.find(regex, text, from);
    if (!match) break;
    if (match->empty() && match->end == last_end) {
      from += from < text.size() ? first_utf8(text.substr(from)).length : 1;
      continue;
    }
    if (done < match->begin) emit(Span{done, match->begin}, false);
    emit(*match, true);
    from = done = last_end = match->end;
  }
  if (done < text.size()) emit(Span{done, text.size()}, false);
}

template <typename Rewrite>
void rewrite_spans(Pieces& pieces, Rewrite append) {
  pieces.next_text.clear();
  pieces.next_spans.clear();
  for (std::size_t i = 0; i < pieces.spans.size(); ++i) {
    const std::size_t begin = pieces.next_text.size();
    append(pieces[i], pieces.next_text);
    pieces.next_spans.push_back({begin, pieces.next_text.size()});
  }
  pieces.replace_text();
}

}  // namespace

void Pieces::start(std::string_view whole) {
  text = whole;
  spans.clear();
  if (!whole.empty()) spans.push_back({0, whole.size()});
}

void Pieces::replace_text() {
  own_text.swap(next_text);
  spans.swap(next_spans);
  text = own_text;
}

// Building
// ---------------------------------------------------------------------------------------------------

PreTokenizer::PreTokenizer(const JsonNode& node) {
  if (!node.is_null()) add(node);
  const auto spells = [](const Step& step) { return std::holds_alternative<SpellBytes>(step); };
  const auto count = std::count_if(steps_.begin(), steps_.end(), spells);
  if (count == 0) {
    fail(ErrorCode::unsupported, "{} has no ByteLevel: only byte-level tokenizers are built", node.where());
  }
  if (count > 1) fail(ErrorCode::unsupported, "{} has ByteLevel more than once", node.where());
  spelled_ = !spells(steps_.back());
  if (!spelled_) steps_.pop_back();  // nothing looks at the letters: pieces stay bytes
}

void PreTokenizer::add(const JsonNode& node) {
  const std::string& type = node.at("type").string();
  const auto add_fixed = [&](std::string_view pattern, Behavior behavior, bool invert) {
    steps_.push_back(Split{Regex::oniguruma(pattern, node.where()), behavior, invert});
  };
  if (type == "Sequence") {
    const JsonNode items = node.at("pretokenizers");
    for (std::size_t i = 0; i < items.array_size(); ++i) add(items.item(i));
  } else if (type == "ByteLevel") {
    add_byte_level(node);
  } else if (type == "Split") {
    add_split(node);
  } else if (type == "Digits") {
    add_fixed(R"(\p{N})", node.flag("individual_digits", false) ? Behavior::isolated : Behavior::contiguous,
              false);
  } else if (type == "Punctuation") {
    add_fixed(R"([\p{P}$+<=>^`|~])", node.has("behavior") ? behavior_of(node) : Behavior::isolated, false);
  } else if (type == "Whitespace") {
    add_fixed(R"([\w\x{200c}\x{200d}]+|[^\w\s\x{200c}\x{200d}]+)", Behavior::removed, true);
  } else if (type == "WhitespaceSplit") {
    add_fixed(R"(\s)", Behavior::removed, false);
  } else if (type == "CharDelimiterSplit") {
    steps_.push_back(
        Split{Regex::literal(node.at("delimiter").string(), node.where()), Behavior::removed, false});
  } else {
    fail(ErrorCode::unsupported, "{} has the type {}, which is not built", node.where(),
         shown(node.at("type").json()));
  }
}

void PreTokenizer::add_byte_level(const JsonNode& node) {
  if (node.flag("add_prefix_space", true)) steps_.push_back(PrefixSpace{});
  if (node.flag("use_regex", true)) {
    steps_.push_back(Split{Regex::oniguruma(kGpt2Pattern, node.where()), Behavior::isolated, false});
  }
  steps_.push_back(SpellBytes{});
}

void PreTokenizer::add_split(const JsonNode& node) {
  const JsonNode pattern = node.at("pattern");
  const bool literal = pattern.has("String");
  const JsonNode text = pattern.at(literal ? "String" : "Regex");
  steps_.push_back(Split{
      literal ? Regex::literal(text.string(), text.where()) : Regex::oniguruma(text.string(), text.where()),
      behavior_of(node), node.flag("invert", false)});
}

PreTokenizer::Behavior PreTokenizer::behavior_of(const JsonNode& node) {
  const JsonNode value = node.at("behavior");
  const std::string& name = value.string();
  if (name == "Isolated") return Behavior::isolated;
  if (name == "Removed") return Behavior::removed;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  fail(ErrorCode::unsupported, "{} is {}, which is not built", value.where(), shown(value.json()));
}

// Running
// ----------------------------------------------------------------------------------------------------

void PreTokenizer::split(std::string_view text, Matcher& matcher, Pieces& pieces) const {
  pieces.start(text);
  for (const Step& step : steps_) {
    std::visit([&](const auto& one) { one.apply(matcher, pieces); }, step);
  }
  if (!spelled_) return;
  rewrite_spans(pieces, [](std::string_view piece, std::string& out) { out += *unspell_bytes(piece); });
}

void PreTokenizer::Split::apply(Matcher& matcher, Pieces& pieces) const {
  pieces.next_spans.clear();
  for (std::size_t i = 0; i < pieces.spans.size(); ++i) {
    cut(pieces[i], pieces.spans[i].begin, matcher, pieces.next_spans);
  }
  pieces.spans.swap(pieces.next_spans);
}

void PreTokenizer::Split::cut(std::string_view piece, std::size_t offset, Matcher& matcher,
                              std::vector<Span>& spans) const {
  const auto first = static_cast<std::ptrdiff_t>(spans.size());
  bool previous = false;
  for_each_stretch(regex, matcher, piece, [&](Span span, bool found) {
    const bool is_match = found != invert;
    bool joins = false;
    if (behavior == Behavior::contiguous) joins = is_match == previous;
    if (behavior == Behavior::merged_with_previous) joins = is_match && !previous;
    if (behavior == Behavior::merged_with_next) joins = !is_match && previous;
    previous = is_match;
    if (behavior == Behavior::removed && is_match) return;
    if (joins && static_cast<std::ptrdiff_t>(spans.size()) > first) {
      spans.back().end = offset + span.end;
    } else {
      spans.push_back({offset + span.begin, offset + span.end});
    }
  });
  const auto empty = [](const Span& span) { return span.empty(); };
  spans.erase(std::remove_if(spans.begin() + first, spans.end(), empty), spans.end());
}

void PreTokenizer::PrefixSpace::apply(Matcher&, Pieces& pieces) const {
  rewrite_spans(pieces, [](std::string_view piece, std::string& out) {
    if (piece.front() != ' ') out += ' ';
    out += piece;
  });
}

void PreTokenizer::SpellBytes::apply(Matcher&, Pieces& pieces) const {
  rewrite_spans(pieces, [](std::string_view piece, std::string& out) { out += spell_bytes(piece); });
}

}  // namespace mamba3
