#include "mamba3/session.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/mapped_file.h"
#include "infer/state_file.h"
#include "model/finite.h"
#include "model/network.h"

namespace mamba3 {

struct Session::Impl {
  Model model;
  NetworkState state;
  std::vector<float> hidden;  // of the last token; empty before the first
  std::vector<float> next;    // what the next token's work fills; becomes `hidden` when it has succeeded
  std::vector<float> logits;
  bool logits_known = false;
  Arena arena;

  explicit Impl(Model m) : model(std::move(m)), state(model.network().zero_state()) {}

  // Runs work(hidden), which reads tokens.
  template <typename Work>
  void advance(const Work& work) {
    next.resize(static_cast<std::size_t>(model.network().config().d_model));
    work(next.data());
    hidden.swap(next);
    logits_known = false;
  }

  // Says where the numbers went wrong: a tensor, when one is not finite.
  [[noreturn]] void not_finite() const {
    check_finite(model.network().checkpoint());
    fail(ErrorCode::numeric, "{}: the logits after {} tokens are not finite numbers", model.name(),
         state.position);
  }
};

Session::Session(Model model) : impl_(std::make_unique<Impl>(std::move(model))) {}
Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

void Session::prefill(std::span<const TokenId> ids) {
  if (ids.empty()) return;
  Impl& s = *impl_;
  s.advance([&](float* hidden) { s.model.network().prefill(s.arena, ids, s.state, hidden); });
}

void Session::step(TokenId id) {
  Impl& s = *impl_;
  NetworkState* state = &s.state;
  s.advance([&](float* hidden) { s.model.network().step(s.arena, {&id, 1}, {&state, 1}, hidden); });
}

std::span<const float> Session::logits() {
  Impl& s = *impl_;
  if (s.hidden.empty()) fail(ErrorCode::invalid_argument, "there are no logits before the first token");
  if (!s.logits_known) {
    s.logits.resize(static_cast<std::size_t>(s.model.vocab_size()));
    s.model.network().logits(s.arena, s.hidden.data(), 1, s.logits.data());
    if (!std::ranges::all_of(s.logits, [](float v) { return std::isfinite(v); })) s.not_finite();
    s.logits_known = true;
  }
  return s.logits;
}

std::int64_t Session::position() const {
  return impl_->state.position;
}
const Model& Session::model() const {
  return impl_->model;
}

Session Session::fork() const {
  auto twin = std::make_unique<Impl>(impl_->model);
  twin->state = impl_->state;
  twin->hidden = impl_->hidden;
  return Session(std::move(twin));
}

void Session::save(const std::filesystem::path& path, const std::string& note) const {
  write_state(path, fingerprint(impl_->model.network().checkpoint()), {impl_->state, impl_->hidden, note});
}

Session Session::load(const Model& model, const std::filesystem::path& path, std::string* note) {
  const MappedFile file(path);
  SavedState saved =
      parse_state(file.bytes(), path.string(), fingerprint(model.network().checkpoint()), model.network());
  auto impl = std::make_unique<Impl>(model);
  impl->state = std::move(saved.network);
  impl->hidden = std::move(saved.hidden);
  if (note != nullptr) *note = std::move(saved.note);
  return Session(std::move(impl));
}

}  // namespace mamba3
