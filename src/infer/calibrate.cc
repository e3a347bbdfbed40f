#include "infer/calibrate.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/arena.h"
#include "core/error.h"
#include "core/utf8.h"
#include "infer/document_tokens.h"
#include "model/finite.h"
#include "model/network.h"
#include "ops/linear/linear.h"

namespace mamba3 {
namespace {

/// Sums of squares of what each matrix is given.
class Collector : public LinearObserver {
 public:
  explicit Collector(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {
    for (const Parameter* p : product_matrices(checkpoint.parameters)) {
      const auto width = static_cast<std::size_t>(p->shape.back());
      of_name_[p->name] = &sums_.emplace_back(Sums{p->gguf, std::vector<double>(width), 0});
    }
  }

  void saw(const PackedMatrix& W, const float* x, std::int64_t rows) override {
    const auto found = of_name_.find(W.name);
    if (found == of_name_.end()) return;  // a matrix of exact precision
    Sums& sums = *found->second;
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t j = 0; j < W.cols; ++j) {
        const double value = x[i * W.cols + j];
        sums.squares[static_cast<std::size_t>(j)] += value * value;
      }
    }
    sums.tokens += rows;
  }

  ImportanceMatrix matrix() const {
    ImportanceMatrix matrix;
    for (const Sums& sums : sums_) matrix.entries[sums.name] = entry(sums);
    return matrix;
  }

 private:
  struct Sums {
    std::string name;
    std::vector<double> squares;
    std::int64_t tokens;
  };

  ImportanceMatrix::Entry entry(const Sums& sums) const {
    if (sums.tokens == 0) {
      fail(ErrorCode::internal, "{}: no product with {} was seen", checkpoint_.name, sums.name);
    }
    ImportanceMatrix::Entry entry{{}, sums.tokens};
    for (const double square : sums.squares) {
      const auto mean = static_cast<float>(square / static_cast<double>(sums.tokens));
      if (!std::isfinite(mean)) {
        check_finite(checkpoint_);
        fail(ErrorCode::numeric, "{}: the inputs of {} are not finite numbers", checkpoint_.name, sums.name);
      }
      entry.mean_squares.push_back(mean);
    }
    return entry;
  }

  const Checkpoint& checkpoint_;
  std::deque<Sums> sums_;
  std::map<std::string, Sums*, std::less<>> of_name_;
};

void check(const CalibrateOptions& options) {
  if (options.tokens < 1) {
    fail(ErrorCode::invalid_argument, "the window is {} tokens, expected 1 or more", options.tokens);
  }
}

}  // namespace

ImportanceMatrix calibrate(const Model& model, std::string_view text, const std::string& name,
                           const CalibrateOptions& options, const CalibrateProgress& progress) {
  check(options);
  check_utf8(text, name);
  const Network& network = model.network();
  const PackedMatrix& head = network.head();
  DocumentTokens source(model.tokenizer(), text);
  Collector collector(network.checkpoint());
  Arena arena;
  std::vector<float> last(static_cast<std::size_t>(network.config().d_model));
  std::int64_t chunks = 0;
  for (; options.most < 0 || chunks < options.most; ++chunks) {
    const auto ids = source.peek(options.tokens);
    if (std::ssize(ids) < options.tokens) break;
    NetworkState state = network.zero_state();
    const auto head_saw = [&](const RowWindow& rows, const float* hidden) {
      collector.saw(head, hidden + rows.begin * head.cols, rows.tokens());
    };
    network.prefill(arena, ids, state, last.data(), {.on_hidden = head_saw, .observer = &collector});
    source.skip(options.tokens);
    if (progress) {
      double all = static_cast<double>(chunks + 1) +
                   std::floor(source.guess_remaining() / static_cast<double>(options.tokens));
      if (options.most > 0) all = std::min(all, static_cast<double>(options.most));
      progress((chunks + 1) * options.tokens, static_cast<double>(chunks + 1) / all);
    }
  }
  if (chunks == 0) {
    fail(ErrorCode::invalid_argument, "{}: the text is shorter than a window of {} tokens", name,
         options.tokens);
  }
  ImportanceMatrix matrix = collector.matrix();
  matrix.dataset = name;
  matrix.chunks = chunks;
  matrix.chunk_tokens = options.tokens;
  return matrix;
}

}  // namespace mamba3
