// A check before measuring: does the fast path compute what the reference does?
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "mamba3/model.h"

namespace mamba3 {

/// Made-up tokens [first, first + count) of one endless text, spread over the vocabulary.
std::vector<TokenId> made_up_tokens(const Model& model, std::int64_t first, std::int64_t count);

/// |found - expected| / |expected|, summed in float64.
double relative_error(std::span<const float> found, std::span<const float> expected);

/// What rounding the inputs of products may change in the logits, relative in norm (docs/numerics.md): it
/// follows from the types of the model's matrices and from how many of them stand in a row.
double allowed_logits_error(const Model& model);

/// Relative errors in norm of the logits after a few tokens, against the float32 reference.
struct Agreement {
  std::int64_t tokens = 0;
  double prefill_error = 0;
  double step_error = 0;
  double allowed = 0;

  bool holds() const;  ///< both within `allowed`; false for NaN
};

/// Reads made-up tokens by prefill, by single steps and by the reference; fewer for large models, since the
/// reference is plain loops over float32 copies of the weights.
Agreement agreement_with_reference(const Model& model);

}  // namespace mamba3
