// One text being read and continued: a state of fixed size.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "mamba3/model.h"
#include "mamba3/sampler.h"
#include "mamba3/tokenizer.h"

namespace mamba3 {

/// A session belongs to one thread at a time. Moves are cheap; fork() copies.
class Session {
 public:
  explicit Session(Model model);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// Reads `ids` after what was read before. Any division of a text into calls, with saving, loading and
  /// forking between them, gives the same bits. Throws Error(invalid_argument) for an id outside the
  /// vocabulary.
  void prefill(std::span<const TokenId> ids);

  /// Reads one token, the fast way for one token at a time. Agrees with prefill within rounding, not to the
  /// bit.
  void step(TokenId id);

  /// step() for many sessions of one model at once, each with a token of its own: the weights are read once
  /// for all. Every session goes on with the bits that it would have alone. Throws Error(invalid_argument),
  /// and no session has moved, for no sessions, another number of tokens than of sessions, an id outside the
  /// vocabulary, sessions of different models, or one that stands there twice.
  static void step(std::span<Session* const> sessions, std::span<const TokenId> ids);

  /// step(id), then the token that sampler.sample(logits(), words) gives; the caller accepts it. On a GPU it
  /// is drawn there, and logits stay there: equal to the CPU's choice but for what rounding decides.
  TokenId step(TokenId id, Sampler& sampler, std::int64_t words);
  /// The same for many sessions of one model at once; samplers[i] draws drawn[i]. Throws as step does.
  static void step(std::span<Session* const> sessions, std::span<const TokenId> ids,
                   std::span<Sampler* const> samplers, std::int64_t words, std::span<TokenId> drawn);

  /// Makes logits() of many sessions of one model known, in one product with the head for all that are not
  /// yet. Throws as step and logits do.
  static void compute_logits(std::span<Session* const> sessions);

  /// Logits [vocab_size] of the next token, float32; valid until the session moves on. Throws
  /// Error(invalid_argument) before the first token, Error(numeric) when they are not finite.
  std::span<const float> logits();

  std::int64_t position() const;  ///< tokens read so far
  const Model& model() const;

  /// How many of the last tokens rewind() can undo now. It grows with each token and falls to 0 where the
  /// state takes the tokens in for good: at positions that are multiples of a fixed number, larger for
  /// prefill than for step.
  std::int64_t rewindable() const;

  /// Undoes the last `tokens` tokens: the session goes on with the bits it would have if it had not read
  /// them. Throws Error(invalid_argument) when that is more than rewindable().
  void rewind(std::int64_t tokens);

  /// An independent session at the same position.
  Session fork() const;

  /// Writes the state (docs/formats.md), atomically; a session loaded from it goes on with the same bits.
  /// `note` is a caller's own text, given back by load.
  void save(const std::filesystem::path& path, const std::string& note = {}) const;

  /// Throws Error when the file is no state, is damaged, or belongs to another model.
  static Session load(const Model& model, const std::filesystem::path& path, std::string* note = nullptr);

 private:
  struct Impl;
  static const Network& batch_network(std::span<Session* const> sessions);
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mamba3
