// Splits tokenizer.json into what a TokenizerSpec holds.
#include <algorithm>
#include <limits>
#include <utility>

#include "core/error.h"
#include "tokenizer/json_builder.h"
#include "tokenizer/settings.h"
#include "tokenizer/vocabulary.h"

namespace mamba3 {
namespace {

/// Takes model.vocab and model.merges aside: they are most of a file, and slow as JSON values.
class TokenizerJsonBuilder : public JsonBuilder {
 public:
  using JsonBuilder::JsonBuilder;
  using Halves = std::vector<std::string>;  // ["a b"], or ["a", "b"]

  bool seen_vocab = false;
  bool seen_merges = false;
  std::vector<std::pair<std::string, std::int64_t>> vocab;
  std::vector<Halves> merges;

  bool start_object(std::size_t size) override {
    if (in_ != Part::other) wrong("an object");
    if (!starts("model", "vocab")) return JsonBuilder::start_object(size);
    begin(Part::vocab, seen_vocab, "vocab");
    return true;
  }
  bool end_object() override {
    if (in_ != Part::vocab) return JsonBuilder::end_object();
    in_ = Part::other;
    return true;
  }
  bool start_array(std::size_t size) override {
    if (in_ == Part::merges) {
      in_ = Part::halves;
      merges.emplace_back();
      return true;
    }
    if (in_ != Part::other) wrong("an array");
    if (!starts("model", "merges")) return JsonBuilder::start_array(size);
    begin(Part::merges, seen_merges, "merges");
    return true;
  }
  bool end_array() override {
    if (in_ == Part::other) return JsonBuilder::end_array();
    in_ = in_ == Part::halves ? Part::merges : Part::other;
    return true;
  }
  bool key(string_t& value) override {
    if (in_ != Part::vocab) return JsonBuilder::key(value);
    vocab.emplace_back(std::move(value), -1);
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (in_ == Part::other) return JsonBuilder::number_unsigned(value);
    if (in_ != Part::vocab || value > std::numeric_limits<std::int64_t>::max()) wrong(std::to_string(value));
    vocab.back().second = static_cast<std::int64_t>(value);
    return true;
  }
  bool string(string_t& value) override {
    if (in_ == Part::other) return JsonBuilder::string(value);
    if (in_ == Part::vocab) wrong('"' + value + '"');
    if (in_ == Part::merges) merges.emplace_back();
    merges.back().push_back(std::move(value));
    return true;
  }
  bool null() override { return in_ == Part::other ? JsonBuilder::null() : wrong("null"); }
  bool boolean(bool value) override {
    return in_ == Part::other ? JsonBuilder::boolean(value) : wrong(value ? "true" : "false");
  }
  bool number_integer(number_integer_t value) override {
    return in_ == Part::other ? JsonBuilder::number_integer(value) : wrong(std::to_string(value));
  }
  bool number_float(number_float_t value, const string_t& text) override {
    return in_ == Part::other ? JsonBuilder::number_float(value, text) : wrong(text);
  }

 private:
  enum class Part { other, vocab, merges, halves };

  void begin(Part part, bool& seen, std::string_view key) {
    if (seen) fail(ErrorCode::bad_format, "{}: model has {} twice", name(), key);
    seen = true;
    in_ = part;
  }
  [[noreturn]] bool wrong(const std::string& found) const {
    if (in_ == Part::vocab) {
      fail(ErrorCode::bad_format, "{}: the id of {} in model.vocab is {}, expected an integer from 0 on",
           name(), vocab.back().first, found);
    }
    const std::size_t index = merges.size() - (in_ == Part::halves ? 1 : 0);
    fail(ErrorCode::bad_format, "{}: model.merges[{}] holds {}, expected two tokens", name(), index, found);
  }

  Part in_ = Part::other;
};

void check_model(const JsonNode& model, const TokenizerJsonBuilder& file) {
  if (model.has("type") && model.at("type").string() != "BPE") {  // older files leave it out
    const JsonNode type = model.at("type");
    fail(ErrorCode::unsupported, "{} is {}, only BPE is built", type.where(), shown(type.json()));
  }
  const auto check = [&](const char* key, bool seen, std::string_view expected) {
    if (seen) return;
    const JsonNode found = model.at(key);
    fail(ErrorCode::bad_format, "{} is {}, expected {}", found.where(), shown(found.json()), expected);
  };
  check("vocab", file.seen_vocab, "an object");
  check("merges", file.seen_merges, "an array");
}

std::vector<std::string> tokens_by_id(TokenizerJsonBuilder& file, const std::string& name) {
  const std::int64_t limit = id_limit(file.vocab.size());
  std::vector<std::string> tokens;
  for (auto& [token, id] : file.vocab) {
    if (id >= limit) {
      fail(ErrorCode::bad_format, "{}: the id of {} is {}, expected one below {} in a vocabulary of {}", name,
           token, id, limit, file.vocab.size());
    }
    const auto at = static_cast<std::size_t>(id);
    if (at >= tokens.size()) tokens.resize(at + 1);
    if (!tokens[at].empty()) {
      fail(ErrorCode::bad_format, "{}: {} and {} have the same id {}", name, tokens[at], token, id);
    }
    tokens[at] = std::move(token);
  }
  return tokens;
}

/// Splits "a b"; false when a merge is not two tokens.
bool split_halves(TokenizerJsonBuilder::Halves& halves) {
  if (halves.size() != 1) return halves.size() == 2;
  const std::string both = halves[0];
  const std::size_t space = both.find(' ');
  if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos) return false;
  halves = {both.substr(0, space), both.substr(space + 1)};
  return true;
}

std::vector<std::pair<TokenId, TokenId>> merge_ids(TokenizerJsonBuilder& file,
                                                   const std::vector<std::string>& tokens,
                                                   const std::string& name) {
  const Vocabulary vocabulary(tokens);
  std::vector<std::pair<TokenId, TokenId>> pairs;
  pairs.reserve(file.merges.size());
  for (std::size_t i = 0; i < file.merges.size(); ++i) {
    TokenizerJsonBuilder::Halves& halves = file.merges[i];
    if (halves.size() == 1 && halves[0].rfind("#version", 0) == 0)
      continue;  // the first line of a merges.txt
    if (!split_halves(halves)) {
      fail(ErrorCode::bad_format, "{}: model.merges[{}] is not two tokens: {}", name, i,
           fmt::join(halves, ", "));
    }
    const auto id_of = [&](const std::string& token) {
      const auto id = vocabulary.find(token);
      if (!id) {
        fail(ErrorCode::bad_format, "{}: model.merges[{}] uses the token {}, which is not in the vocabulary",
             name, i, token);
      }
      return *id;
    };
    pairs.emplace_back(id_of(halves[0]), id_of(halves[1]));
  }
  return pairs;
}

}  // namespace

TokenizerSpec read_tokenizer_json(std::string_view text, const std::string& name) {
  TokenizerJsonBuilder file(name);
  file.parse(text);
  check_model(JsonNode(file.root(), name).at("model"), file);
  TokenizerSpec spec;
  spec.tokens = tokens_by_id(file, name);
  spec.merges = merge_ids(file, spec.tokens, name);
  spec.settings = file.root().dump();
  return spec;
}

}  // namespace mamba3
