#include "infer/agreement.h"

#include <fmt/format.h>

#include <cmath>
#include <string>

#include "mamba3/session.h"
#include "model/network.h"
#include "model/reference_model.h"

namespace mamba3 {
namespace {

std::int64_t tokens_to_check(const Model& model) {
  std::int64_t parameters = 0;
  for (const auto& [name, tensor] : model.network().checkpoint().tensors) parameters += tensor.elements();
  return parameters < 50'000'000 ? 32 : parameters < 500'000'000 ? 16 : 4;
}

std::vector<float> reference_logits(const Model& model, std::span<const TokenId> ids) {
  const reference::Model<float> reference(model.network().checkpoint());
  auto state = reference.zero_state();
  const auto hidden = reference.hidden(ids, state);
  const reference::Values<float> last(hidden.end() - model.network().config().d_model, hidden.end());
  const auto logits = reference.logits(last);
  return {logits.begin(), logits.end()};
}

// Float32 sums in other orders, over all layers (docs/numerics.md).
constexpr double kSummation = 1e-4;
// Root mean square of rounding to bfloat16's 8 bits: at most half a unit in the last place, evenly spread.
const double kBf16Rounding = 0x1p-9 / std::sqrt(3.0);
// Of rounding to steps of 1/127 of the largest value, in units of that value: 1/sqrt(12) of a step.
const double kInt8Rounding = 1 / 127.0 / std::sqrt(12.0);
// The largest of the 256 values that share a scale, in units of their root mean square, expected of normal
// values a and of a silu(b), as gates make them.
constexpr double kNormalCrest = 3, kGatedCrest = 6.6;
// An error goes through the layers above it, which the walk leaves out. Their products of up to four factors
// would enlarge it 3.5 times in 24 sublayers (docs/numerics.md derives it); no model needed more than 1.6.
constexpr double kGain = 2;

/// Relative error in norm (root mean square) that a product's input is given, by the type of the weights. On
/// a GPU everything meets bfloat16, or float16 for quantized weights, which rounds less.
double input_rounding(const Model& model, DType weights, double crest) {
  if (model.network().device() == Device::cuda || weights == DType::bf16) return kBf16Rounding;
  return block_of(weights).elements > 1 ? crest * kInt8Rounding : 0;
}

}  // namespace

std::vector<TokenId> made_up_tokens(const Model& model, std::int64_t first, std::int64_t count) {
  constexpr std::uint64_t kStride = 0x9e3779b97f4a7c15;  // golden ratio: neighbours lie far apart
  std::vector<TokenId> ids;
  for (std::int64_t i = first; i < first + count; ++i) {
    const std::uint64_t number = (static_cast<std::uint64_t>(i) + 1) * kStride >> 32;
    ids.push_back(static_cast<TokenId>(number % static_cast<std::uint64_t>(model.vocab_size())));
  }
  return ids;
}

double relative_error(std::span<const float> found, std::span<const float> expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += (double{found[i]} - expected[i]) * (double{found[i]} - expected[i]);
    norm += double{expected[i]} * expected[i];
  }
  return std::sqrt(difference / norm);
}

double allowed_logits_error(const Model& model) {
  const Checkpoint& checkpoint = model.network().checkpoint();
  const bool on_gpu = model.network().device() == Device::cuda;
  double variance = 0;  // of a walk with a step for each rounded input
  const auto add = [&](const std::string& name, double crest, int steps) {
    if (!checkpoint.tensors.contains(name)) return;
    const double error = input_rounding(model, checkpoint.tensor(name).dtype, crest);
    variance += steps * error * error;
  };
  for (std::int64_t i = 0; i < checkpoint.config.n_layer; ++i) {
    const std::string layer = fmt::format("layers.{}.", i);
    add(layer + "mixer.in_proj", kNormalCrest, 4);  // z, x, B and C are multiplied with each other
    // On a GPU these four leave in_proj rounded, and so do q, k, scores and the state enter the scan's
    // products.
    if (on_gpu) add(layer + "mixer.in_proj", kNormalCrest, 8);
    add(layer + "mixer.out_proj", kGatedCrest, 1);
    add(layer + "mlp.up", kNormalCrest, 1);
    add(layer + "mlp.gate", kNormalCrest, 1);
    add(layer + "mlp.down", kGatedCrest, 1);
  }
  add(checkpoint.config.tie_embeddings ? "embedding" : "head", kNormalCrest, 1);
  return kSummation + kGain * std::sqrt(variance);
}

bool Agreement::holds() const {
  return prefill_error <= allowed && step_error <= allowed;
}

Agreement agreement_with_reference(const Model& model) {
  Agreement result{.tokens = tokens_to_check(model), .allowed = allowed_logits_error(model)};
  const auto ids = made_up_tokens(model, 0, result.tokens);
  const auto expected = reference_logits(model, ids);
  Session read(model), stepped(model);
  read.prefill(ids);
  for (const TokenId id : ids) stepped.step(id);
  result.prefill_error = relative_error(read.logits(), expected);
  result.step_error = relative_error(stepped.logits(), expected);
  return result;
}

}  // namespace mamba3
