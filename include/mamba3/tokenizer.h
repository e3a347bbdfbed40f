// Text to token ids and back: byte-level BPE as in Hugging Face's tokenizer.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mamba3 {

using TokenId = std::int32_t;

struct TokenizerSpec;  // src/tokenizer/spec.h: what a file stores

/// Byte-level BPE, as GPT-2, GPT-NeoX and Llama 3 have it. Immutable and safe to share between threads.
/// Copies are cheap (shared).
///
/// Built: pre_tokenizer ByteLevel, Split, Digits, Punctuation, Whitespace, WhitespaceSplit,
/// CharDelimiterSplit; post_processor ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing;
/// decoder ByteLevel; Sequences of these. Anything else, any normalizer among it, is refused by name.
/// `truncation` and `padding` are left to the caller. Added tokens keep the ids that the file gives them.
class Tokenizer {
 public:
  /// Reads a tokenizer.json. Throws Error with the file's name: not_found, io, bad_format, or unsupported for
  /// what is not built.
  static Tokenizer from_file(const std::filesystem::path& path);
  /// `name` stands for the file in messages.
  static Tokenizer from_json(std::string_view json, std::string_view name);
  /// From what spec() gave, or a file that stores it. Throws as from_json.
  static Tokenizer from_spec(TokenizerSpec spec, std::string_view name);

  /// UTF-8 text (NUL bytes allowed, fewer than 2^31 bytes) to ids. Special tokens in the text are recognised.
  /// `with_template` adds what the tokenizer's post-processor adds (often a start token). Throws
  /// Error(invalid_argument) with the byte offset when the text is not UTF-8, and Error(unsupported) when one
  /// of the tokenizer's regular expressions takes too many steps on it.
  std::vector<TokenId> encode(std::string_view text, bool with_template = true) const;

  /// Ids to text; incomplete UTF-8 becomes U+FFFD as Hugging Face's decoder does. `skip_special` leaves
  /// special tokens out. Ids without an entry give nothing. Throws Error(invalid_argument) for an id outside
  /// the vocabulary.
  std::string decode(std::span<const TokenId> ids, bool skip_special = false) const;

  /// The raw bytes a token stands for (possibly a part of a character); they live as long as the tokenizer.
  /// Throws Error(invalid_argument) for an id outside the vocabulary.
  std::string_view bytes_of(TokenId id) const;
  bool is_special(TokenId id) const;                           ///< throws as bytes_of
  std::optional<TokenId> id_of(std::string_view token) const;  ///< by its stored text, "<|endoftext|>" say
  std::int64_t vocab_size() const;                             ///< largest id + 1

  /// The token put before a text: the one of the post-processor, else <|begin_of_text|>, else <|endoftext|>.
  std::optional<TokenId> start_token() const;
  /// Tokens that end a text: <|endoftext|>, <|end_of_text|>, <|eot_id|>, as far as there are.
  std::vector<TokenId> end_tokens() const;

  const TokenizerSpec& spec() const;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

/// Turns tokens into text as they come, whole characters at a time: all that push and finish return, joined,
/// is what decode gives for all ids.
class TextStream {
 public:
  explicit TextStream(Tokenizer tokenizer, bool skip_special = true)
      : tokenizer_(std::move(tokenizer)), skip_special_(skip_special) {}
  /// The characters that are complete now; bytes that can no longer become one are U+FFFD at once. Throws
  /// Error(invalid_argument) for an id outside the vocabulary.
  std::string push(TokenId id);
  std::string finish();                                    ///< U+FFFD for what is still incomplete
  const std::string& pending() const { return pending_; }  ///< bytes of a character not complete yet
  void resume(std::string pending) { pending_ = std::move(pending); }

 private:
  Tokenizer tokenizer_;
  bool skip_special_;
  std::string pending_;
};

}  // namespace mamba3
