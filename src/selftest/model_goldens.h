// Goldens of a whole model: logits, losses, the residual stream, greedy continuations.
#pragma once

#include "selftest/golden.h"
#include "selftest/implementation.h"

namespace mamba3::selftest {

/// Every prompt{i} of the golden. `fast`: also cut into calls and by single steps.
GoldenResult check_model(const Implementation& implementation, const Golden& golden, const Options& options,
                         bool fast);

/// Reads `prompts` with the float64 reference: a golden of kind "model" over a checkpoint in memory.
Golden model_golden(const std::string& name, std::shared_ptr<const Checkpoint> model,
                    const std::vector<std::vector<TokenId>>& prompts, std::int64_t greedy);

}  // namespace mamba3::selftest
