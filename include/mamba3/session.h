// One text being read and continued: a state of fixed size.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "mamba3/model.h"
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

  /// Logits [vocab_size] of the next token, float32; valid until the session moves on. Throws
  /// Error(invalid_argument) before the first token, Error(numeric) when they are not finite.
  std::span<const float> logits();

  std::int64_t position() const;  ///< tokens read so far
  const Model& model() const;

  /// An independent session at the same position.
  Session fork() const;

  /// Writes the state (docs/formats.md), atomically; a session loaded from it goes on with the same bits.
  /// `note` is a caller's own text, given back by load.
  void save(const std::filesystem::path& path, const std::string& note = {}) const;

  /// Throws Error when the file is no state, is damaged, or belongs to another model.
  static Session load(const Model& model, const std::filesystem::path& path, std::string* note = nullptr);

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace mamba3
