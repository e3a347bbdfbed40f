// What a tokenizer file stores, in a form that GGUF can carry as arrays.
#pragma once

#include <string>
#include <vector>

#include "mamba3/tokenizer.h"

namespace mamba3 {

struct TokenizerSpec {
  /// model.vocab by id, in its stored byte-level spelling ("Ġthe"); ids without an entry are empty strings.
  /// Added tokens stand in `settings`.
  std::vector<std::string> tokens;
  /// model.merges in order, as pairs of ids.
  std::vector<std::pair<TokenId, TokenId>> merges;
  /// tokenizer.json as compact JSON without model.vocab and model.merges: added_tokens, normalizer,
  /// pre_tokenizer, post_processor, decoder and the model's flags.
  std::string settings;
};

}  // namespace mamba3
