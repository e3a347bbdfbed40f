// Cross-entropy of one row of logits in plain loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace mamba3::reference {

/// log(sum exp(logits)) - logits[target], with the largest logit taken out first.
template <typename T>
T cross_entropy(const T* logits, std::int64_t vocab, std::int64_t target) {
  const T largest = *std::max_element(logits, logits + vocab);
  T sum = 0;
  for (std::int64_t j = 0; j < vocab; ++j) sum += std::exp(logits[j] - largest);
  return std::log(sum) + largest - logits[target];
}

}  // namespace mamba3::reference
