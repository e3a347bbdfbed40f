#include "mamba3/tokenizer.h"

#include <algorithm>
#include <limits>
#include <mutex>

#include "core/error.h"
#include "core/mapped_file.h"
#include "core/utf8.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_letters.h"
#include "tokenizer/pre_tokenizer.h"
#include "tokenizer/settings.h"

namespace mamba3 {
namespace {

constexpr std::size_t kLargestText = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kScratchKeptUpTo = 1 << 20;  // bytes of text; what a larger one needed is freed again

const Json kNull;

JsonNode optional_part(const JsonNode& root, const char* key) {
  return root.has(key) ? root.at(key) : JsonNode(kNull, fmt::format("{}: {}", root.where(), key));
}

/// What encoding one text needs.
struct Scratch {
  Matcher matcher;
  Pieces pieces;
  BpeScratch bpe;
};

/// Hands each thread a Scratch of its own, with what it remembers from earlier texts.
class ScratchPool {
 public:
  std::unique_ptr<Scratch> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<Scratch>();
    std::unique_ptr<Scratch> scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  void give_back(std::unique_ptr<Scratch> scratch) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(scratch));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

/// The bytes of every id, one after the other.
class TokenBytes {
 public:
  void append(std::string_view stored) {
    bytes_ += unspell_bytes(stored).value_or(std::string(stored));  // as Hugging Face: all letters, or none
    ends_.push_back(bytes_.size());
  }
  std::size_t size() const { return ends_.size(); }
  std::string_view operator[](std::size_t id) const {
    const std::size_t begin = id == 0 ? 0 : ends_[id - 1];
    return std::string_view(bytes_).substr(begin, ends_[id] - begin);
  }

 private:
  std::string bytes_;
  std::vector<std::size_t> ends_;
};

std::vector<AddedToken> those_normalized(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<AddedToken> chosen;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(chosen),
               [&](const AddedToken& token) { return token.normalized == normalized; });
  return chosen;
}

}  // namespace

struct Tokenizer::Impl {
  Impl(TokenizerSpec stored, const JsonNode& settings);
  void encode(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const;
  void encode_plain(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const;
  std::size_t checked(TokenId id) const;

  const TokenizerSpec spec;
  const std::string name;
  Vocabulary vocabulary;
  std::vector<AddedToken> added;  // by id
  AddedTokenFinder plain_finder;
  AddedTokenFinder normalized_finder;
  PreTokenizer pre_tokenizer;
  Bpe bpe;
  TokenBytes bytes;
  std::vector<bool> special;
  Frame frame;
  mutable ScratchPool pool;

 private:
  void check_tokens() const;
  void add_tokens(const JsonNode& settings);
};

Tokenizer::Impl::Impl(TokenizerSpec stored, const JsonNode& settings)
    : spec(std::move(stored)),
      name(settings.where()),
      vocabulary(spec.tokens),
      added(read_added_tokens(settings, spec)),
      plain_finder(those_normalized(added, false)),
      normalized_finder(those_normalized(added, true)),
      pre_tokenizer(optional_part(settings, "pre_tokenizer")),
      bpe(spec, vocabulary, settings.at("model")) {
  check_tokens();
  check_normalizer(optional_part(settings, "normalizer"));
  check_decoder(optional_part(settings, "decoder"));
  add_tokens(settings);
  frame =
      read_post_processor(optional_part(settings, "post_processor"), static_cast<std::int64_t>(bytes.size()));
}

/// Fills `bytes` and `special`: an added token is either one of the vocabulary's or has an id of its own.
void Tokenizer::Impl::add_tokens(const JsonNode& settings) {
  const std::size_t size =
      std::max(spec.tokens.size(), added.empty() ? 0 : static_cast<std::size_t>(added.back().id) + 1);
  special.resize(size);
  auto next = added.begin();
  for (std::size_t id = 0; id < size; ++id) {
    const std::string_view stored = id < spec.tokens.size() ? std::string_view(spec.tokens[id]) : "";
    if (next == added.end() || static_cast<std::size_t>(next->id) != id) {
      bytes.append(stored);
      continue;
    }
    const auto elsewhere = vocabulary.find(next->content);
    if ((elsewhere && *elsewhere != next->id) || (!stored.empty() && stored != next->content)) {
      fail(ErrorCode::bad_format, "{}: the added token {} has the id {}, which contradicts the vocabulary",
           settings.where(), next->content, id);
    }
    bytes.append(next->content);
    special[id] = next->special;
    ++next;
  }
}

void Tokenizer::Impl::check_tokens() const {
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    if (!find_invalid_utf8(spec.tokens[id])) continue;
    fail(ErrorCode::bad_format, "{}: the token with the id {} is not UTF-8", name, id);
  }
  if (const auto twice = vocabulary.duplicate()) {
    fail(ErrorCode::bad_format, "{}: the token {} has two ids, one of them {}", name,
         spec.tokens[static_cast<std::size_t>(*twice)], *twice);
  }
}

void Tokenizer::Impl::encode(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const {
  std::vector<Segment> segments;
  plain_finder.split(text, scratch.matcher, segments);
  std::vector<Segment> finer;
  for (const Segment& segment : segments) {
    if (segment.id) {
      finer.push_back(segment);
    } else {
      normalized_finder.split(segment.text, scratch.matcher, finer);
    }
  }
  for (const Segment& segment : finer) {
    if (segment.id) {
      ids.push_back(*segment.id);
    } else {
      encode_plain(segment.text, scratch, ids);
    }
  }
}

void Tokenizer::Impl::encode_plain(std::string_view text, Scratch& scratch, std::vector<TokenId>& ids) const {
  Pieces& pieces = scratch.pieces;
  pre_tokenizer.split(text, scratch.matcher, pieces);
  for (std::size_t i = 0; i < pieces.spans.size(); ++i) bpe.encode(pieces[i], scratch.bpe, ids);
}

std::size_t Tokenizer::Impl::checked(TokenId id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= bytes.size()) {
    fail(ErrorCode::invalid_argument, "{}: {} is no token id, they end at {}", name, id, bytes.size() - 1);
  }
  return static_cast<std::size_t>(id);
}

Tokenizer Tokenizer::from_file(const std::filesystem::path& path) {
  const MappedFile file(path);
  return from_json({reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()}, path.string());
}

Tokenizer Tokenizer::from_json(std::string_view json, std::string_view name) {
  return from_spec(read_tokenizer_json(json, std::string(name)), name);
}

Tokenizer Tokenizer::from_spec(TokenizerSpec spec, std::string_view name) {
  const Json settings = parse_json(spec.settings, name);
  return Tokenizer(std::make_shared<const Impl>(std::move(spec), JsonNode(settings, std::string(name))));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool with_template) const {
  check_utf8(text, "the text");
  if (text.size() > kLargestText) {
    fail(ErrorCode::invalid_argument, "the text has {} bytes, at most {} are allowed", text.size(),
         kLargestText);
  }
  std::vector<TokenId> ids;
  if (with_template) ids = impl_->frame.before;
  std::unique_ptr<Scratch> scratch = impl_->pool.take();
  impl_->encode(text, *scratch, ids);
  if (text.size() <= kScratchKeptUpTo) impl_->pool.give_back(std::move(scratch));
  if (with_template) ids.insert(ids.end(), impl_->frame.after.begin(), impl_->frame.after.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string bytes;
  for (const TokenId id : ids) {
    const std::size_t at = impl_->checked(id);
    if (!skip_special || !impl_->special[at]) bytes += impl_->bytes[at];
  }
  std::string text = take_utf8(bytes);
  if (!bytes.empty()) text += kReplacementCharacter;
  return text;
}

std::string_view Tokenizer::bytes_of(TokenId id) const {
  return impl_->bytes[impl_->checked(id)];
}

bool Tokenizer::is_special(TokenId id) const {
  return impl_->special[impl_->checked(id)];
}

std::optional<TokenId> Tokenizer::id_of(std::string_view token) const {
  const auto found = std::find_if(impl_->added.begin(), impl_->added.end(),
                                  [&](const AddedToken& added) { return added.content == token; });
  if (found != impl_->added.end()) return found->id;
  return impl_->vocabulary.find(token);
}

std::int64_t Tokenizer::vocab_size() const {
  return static_cast<std::int64_t>(impl_->bytes.size());
}

std::optional<TokenId> Tokenizer::start_token() const {
  if (!impl_->frame.before.empty()) return impl_->frame.before.front();
  for (const char* name : {"<|begin_of_text|>", "<|endoftext|>"}) {
    if (const auto id = id_of(name)) return id;
  }
  return std::nullopt;
}

std::vector<TokenId> Tokenizer::end_tokens() const {
  std::vector<TokenId> ids;
  for (const char* name : {"<|endoftext|>", "<|end_of_text|>", "<|eot_id|>"}) {
    if (const auto id = id_of(name)) ids.push_back(*id);
  }
  return ids;
}

const TokenizerSpec& Tokenizer::spec() const {
  return impl_->spec;
}

std::string TextStream::push(TokenId id) {
  if (skip_special_ && tokenizer_.is_special(id)) return {};
  pending_ += tokenizer_.bytes_of(id);
  return take_utf8(pending_);
}

std::string TextStream::finish() {
  std::string text = take_utf8(pending_);
  if (!pending_.empty()) text += kReplacementCharacter;
  pending_.clear();
  return text;
}

}  // namespace mamba3
