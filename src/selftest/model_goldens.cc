#include "selftest/model_goldens.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <system_error>

#include "core/error.h"
#include "model/store.h"
#include "selftest/compare.h"
#include "selftest/convert.h"

namespace mamba3::selftest {
namespace {

// A gap between the two best logits below this says nothing about an implementation (README of the goldens).
constexpr double kThinMargin = 1e-3;

/// In options.models under its own name, else where the golden says.
std::shared_ptr<const Checkpoint> checkpoint_of(const Golden& golden, const Options& options) {
  if (golden.model) return golden.model;
  const std::filesystem::path named = golden.checkpoint;
  std::vector<std::filesystem::path> places = {std::filesystem::path(golden.name).parent_path() / named};
  if (!options.models.empty()) places.insert(places.begin(), options.models / named.filename());
  std::string tried;
  for (const auto& place : places) {
    std::error_code error;
    if (std::filesystem::exists(place, error))
      return std::make_shared<const Checkpoint>(load_checkpoint(place));
    tried += (tried.empty() ? "" : " nor at ") + place.lexically_normal().string();
  }
  fail(ErrorCode::not_found, "{}: its checkpoint is not at {}; --models DIR names the folder that holds {}",
       golden.name, tried, named.filename().string());
}

/// Matrices of products as bfloat16, everything else as it is.
std::shared_ptr<const Checkpoint> in_bf16(const Checkpoint& stored) {
  Checkpoint rounded = stored;
  for (const Parameter& parameter : rounded.parameters) {
    if (parameter.precision != mamba3::Precision::weight) continue;
    TensorView& tensor = rounded.tensors.at(parameter.name);
    const auto bytes = std::make_shared<std::vector<std::byte>>(
        static_cast<std::size_t>(*bytes_of(DType::bf16, tensor.elements())));
    store_tensor(tensor, DType::bf16, nullptr, *bytes);
    tensor = {DType::bf16, tensor.shape, *bytes};
    rounded.owners.push_back(bytes);
  }
  return std::make_shared<const Checkpoint>(std::move(rounded));
}

std::vector<TokenId> prompt_ids(const Golden& golden, const std::string& prompt, std::int64_t vocabulary) {
  const Array& ids = golden.at(prompt + "ids");
  for (const double id : ids.values) {
    if (!(id >= 0 && id < static_cast<double>(vocabulary) && id == std::floor(id))) {
      fail(ErrorCode::bad_format, "{}: {}ids holds {}, expected ids below {}", golden.name, prompt, id,
           vocabulary);
    }
  }
  if (ids.values.empty()) fail(ErrorCode::bad_format, "{}: {}ids is empty", golden.name, prompt);
  return {ids.values.begin(), ids.values.end()};
}

struct Continuation {
  Values ids;
  Values margins;  // between the two largest logits
};

/// The most likely `count` ids after a text whose last logits are `row`.
Continuation continue_greedily(ModelUnderTest& model, Values row, std::size_t count) {
  Continuation found;
  while (found.ids.size() < count) {
    const auto best = std::max_element(row.begin(), row.end());
    const auto id = best - row.begin();
    const double largest = *best;
    *best = -std::numeric_limits<double>::infinity();
    found.ids.push_back(static_cast<double>(id));
    found.margins.push_back(largest - *std::max_element(row.begin(), row.end()));
    if (found.ids.size() < count) row = model.step(static_cast<TokenId>(id));
  }
  return found;
}

struct Sizes {
  std::int64_t tokens, vocabulary, depths, d_model;
};

/// The last `rows` of the logits [T, V].
Array last_rows(const Values& logits, const Sizes& sizes, std::int64_t rows) {
  return {{rows, sizes.vocabulary}, rows_between(logits, sizes.tokens, sizes.tokens - rows, sizes.tokens)};
}

/// A reading under the names of a golden.
Arrays named(const Reading& reading, const Sizes& sizes, std::int64_t rows) {
  Arrays arrays = {{"logits", last_rows(reading.logits, sizes, rows)}};
  arrays["nll"] = {{sizes.tokens - 1}, reading.nll};
  arrays["residual"] = {{sizes.depths, sizes.tokens, sizes.d_model}, reading.residual};
  return arrays;
}

/// One prompt of a golden, as an implementation reads it.
class Prompt {
 public:
  Prompt(ModelUnderTest& model, const Golden& golden, std::string prefix, const ModelConfig& config)
      : model_(model), golden_(golden), prefix_(std::move(prefix)) {
    ids_ = prompt_ids(golden, prefix_, config.vocab_rows());
    sizes_ = {static_cast<std::int64_t>(ids_.size()), config.vocab_rows(), config.n_layer + 1,
              config.d_model};
    const Shape& logits = golden.at(prefix_ + "logits").shape;
    rows_ = logits.empty() ? 0 : logits[0];
    if (rows_ < 1 || rows_ > sizes_.tokens) {
      fail(ErrorCode::bad_format, "{}: {}logits has {} rows, expected 1 to {}", golden.name, prefix_, rows_,
           sizes_.tokens);
    }
  }

  void check(const Options& options, bool fast, std::vector<TensorResult>& results) {
    const Precision precision = options.precision;
    const Reading whole = model_.read(ids_, {{sizes_.tokens}});
    const Arrays found = named(whole, sizes_, rows_);
    golden_.at(prefix_ + "nll");
    for (const auto& [name, array] : found) {
      if (golden_.has(prefix_ + name)) {
        results.push_back(compare(prefix_ + name, array, golden_.at(prefix_ + name), precision));
      }
    }
    results.push_back(
        check_greedy(whole, largest_difference(found.at("logits"), golden_.at(prefix_ + "logits"))));
    if (fast) check_again(found, options, results);
  }

  /// The golden's outputs replaced by what the model gives.
  void record(Golden& to) {
    const Reading reading = model_.read(ids_, {{sizes_.tokens}});
    for (auto& [name, array] : named(reading, sizes_, rows_)) to.tensors[prefix_ + name] = std::move(array);
    const auto count = golden_.at(prefix_ + "greedy_ids").values.size();
    const auto found = continue_greedily(model_, last_rows(reading.logits, sizes_, 1).values, count);
    const Shape shape = {static_cast<std::int64_t>(count)};
    to.tensors[prefix_ + "greedy_ids"] = {shape, found.ids};
    to.tensors[prefix_ + "greedy_margin"] = {shape, found.margins};
  }

 private:
  /// Ids up to the first choice that an error of the logits could turn.
  TensorResult check_greedy(const Reading& reading, double logit_error) {
    const Values& wanted = golden_.at(prefix_ + "greedy_ids").values;
    const Values& margins =
        golden_.values(prefix_ + "greedy_margin", golden_.at(prefix_ + "greedy_ids").shape);
    const double thin = std::max(kThinMargin, 2 * logit_error);
    const auto sure = std::find_if(margins.begin(), margins.end(), [&](double m) { return !(m >= thin); });
    const auto count = static_cast<std::size_t>(sure - margins.begin());
    const auto found = continue_greedily(model_, last_rows(reading.logits, sizes_, 1).values, count);
    double differing = 0;
    for (std::size_t i = 0; i < count; ++i) differing += found.ids[i] != wanted[i];
    return {fmt::format("{}greedy_ids (first {})", prefix_, count), differing, 0};
  }

  void check_again(const Arrays& whole, const Options& options, std::vector<TensorResult>& results) {
    const Precision precision = options.precision;
    const bool rounds = options.impl == Impl::cuda && precision == Precision::bf16;
    const Arrays cut = named(model_.read(ids_, cut_in_calls(sizes_.tokens)), sizes_, rows_);
    for (const auto& [name, array] : cut) {
      const std::string label = prefix_ + name + " (cut in calls)";
      results.push_back(rounds ? compare(label, array, whole.at(name), precision)
                               : same_bits(label, array, whole.at(name)));
    }
    const auto compare_logits = [&](const char* label, const Calls& calls) {
      const auto logits = last_rows(model_.read(ids_, calls).logits, sizes_, rows_);
      results.push_back(compare(prefix_ + "logits (" + label + ")", logits, whole.at("logits"), precision));
    };
    compare_logits("calls and steps", calls_and_steps(sizes_.tokens));
    compare_logits("single steps", {{sizes_.tokens, true}});
  }

  ModelUnderTest& model_;
  const Golden& golden_;
  std::string prefix_;
  std::vector<TokenId> ids_;
  Sizes sizes_{};
  std::int64_t rows_ = 0;
};

template <typename Visit>
void for_each_prompt(ModelUnderTest& model, const Golden& golden, const ModelConfig& config, Visit&& visit) {
  golden.at("prompt0.ids");
  for (int i = 0; golden.has(fmt::format("prompt{}.ids", i)); ++i) {
    Prompt prompt(model, golden, fmt::format("prompt{}.", i), config);
    visit(prompt);
  }
}

/// The golden with what `implementation` makes of its prompts.
Golden recorded(const Implementation& implementation, const Golden& golden, const Checkpoint& checkpoint) {
  Golden result = golden;
  const auto model = implementation.open(checkpoint);
  for_each_prompt(*model, golden, checkpoint.config, [&](Prompt& prompt) { prompt.record(result); });
  return result;
}

}  // namespace

GoldenResult check_model(const Implementation& implementation, const Golden& golden, const Options& options,
                         bool fast) {
  auto checkpoint = checkpoint_of(golden, options);
  Golden expected = golden;
  if (options.precision == Precision::bf16) {
    checkpoint = in_bf16(*checkpoint);
    expected = recorded(*make_reference<float>(), golden, *checkpoint);
  }
  GoldenResult result{golden.name, golden.kind, {}, {}};
  const auto model = implementation.open(*checkpoint);
  for_each_prompt(*model, expected, checkpoint->config,
                  [&](Prompt& prompt) { prompt.check(options, fast, result.tensors); });
  return result;
}

Golden model_golden(const std::string& name, std::shared_ptr<const Checkpoint> model,
                    const std::vector<std::vector<TokenId>>& prompts, std::int64_t greedy) {
  Golden golden;
  golden.name = name;
  golden.kind = "model";
  golden.model = std::move(model);
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const auto prefix = fmt::format("prompt{}.", i);
    const auto tokens = static_cast<std::int64_t>(prompts[i].size());
    golden.tensors[prefix + "ids"] = {{tokens}, {prompts[i].begin(), prompts[i].end()}};
    golden.tensors[prefix + "logits"] = {{tokens}, {}};  // how many rows to record
    golden.tensors[prefix + "greedy_ids"] = {{greedy}, Values(static_cast<std::size_t>(greedy))};
  }
  return recorded(*make_reference<double>(), golden, *golden.model);
}

}  // namespace mamba3::selftest
