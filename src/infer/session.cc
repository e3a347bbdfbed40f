#include "mamba3/session.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/error.h"
#include "core/mapped_file.h"
#include "core/threads.h"
#include "infer/state_file.h"
#include "model/finite.h"
#include "model/network.h"

namespace mamba3 {

namespace {

// Scratch memory of whatever this thread's sessions do: the activations of a long prompt take more than many
// a state.
Arena& scratch() {
  thread_local Arena arena;
  return arena;
}

void require_as_many(std::span<Session* const> sessions, std::span<const TokenId> ids) {
  if (sessions.size() == ids.size()) return;
  fail(ErrorCode::invalid_argument, "a batch has {} sessions and {} tokens, expected as many of both",
       sessions.size(), ids.size());
}

}  // namespace

struct Session::Impl {
  Model model;
  NetworkState state;
  std::vector<float> logits;
  bool logits_known = false;

  explicit Impl(Model m) : model(std::move(m)), state(model.network().zero_state()) {}

  const Network& network() const { return model.network(); }

  void require_logits() const {
    if (state.position == 0) {
      fail(ErrorCode::invalid_argument, "there are no logits before the first token");
    }
  }

  // After a step whose logits were not looked at.
  void require_finite_hidden() {
    logits_known = false;
    const float* hidden = state.hidden_of(state.position - 1);
    if (!std::all_of(hidden, hidden + network().config().d_model, [](float v) { return std::isfinite(v); }))
      not_finite();
  }

  // Says where the numbers went wrong: a tensor, when one is not finite.
  [[noreturn]] void not_finite() const {
    check_finite(network().checkpoint());
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
  const Arena::Scope scope(scratch());
  auto* hidden = scratch().take<float>(s.network().config().d_model);
  s.network().prefill(scratch(), ids, s.state, hidden);
  s.logits_known = false;
}

void Session::step(TokenId id) {
  Session* const one = this;
  step({&one, 1}, {&id, 1});
}

void Session::step(std::span<Session* const> sessions, std::span<const TokenId> ids) {
  require_as_many(sessions, ids);
  const Network& network = batch_network(sessions);
  const auto count = std::ssize(sessions);
  const Arena::Scope scope(scratch());
  auto* states = scratch().take<NetworkState*>(count);
  auto* hidden = scratch().take<float>(count * network.config().d_model);
  for (std::int64_t i = 0; i < count; ++i) states[i] = &sessions[i]->impl_->state;
  network.step(scratch(), ids, {states, sessions.size()}, hidden);
  for (Session* session : sessions) session->impl_->logits_known = false;
}

TokenId Session::step(TokenId id, Sampler& sampler, std::int64_t words) {
  Session* const session = this;
  Sampler* const draws = &sampler;
  TokenId drawn = 0;
  step({&session, 1}, {&id, 1}, {&draws, 1}, words, {&drawn, 1});
  return drawn;
}

void Session::step(std::span<Session* const> sessions, std::span<const TokenId> ids,
                   std::span<Sampler* const> samplers, std::int64_t words, std::span<TokenId> drawn) {
  require_as_many(sessions, ids);
  const Network& network = batch_network(sessions);
  const auto count = std::ssize(sessions);
  if (std::ssize(samplers) != count || std::ssize(drawn) != count) {
    fail(ErrorCode::invalid_argument,
         "a batch has {} sessions, {} samplers and room for {} tokens, expected as many", count,
         samplers.size(), drawn.size());
  }
  const bool on_device =
      std::ranges::all_of(samplers, [&](const Sampler* s) { return network.draws(s->options()); });
  if (!on_device) {
    step(sessions, ids);
    compute_logits(sessions);
    for (std::size_t i = 0; i < sessions.size(); ++i)
      drawn[i] = samplers[i]->sample(sessions[i]->logits(), words);
    return;
  }
  const Arena::Scope scope(scratch());
  auto* states = scratch().take<NetworkState*>(count);
  for (std::int64_t i = 0; i < count; ++i) states[i] = &sessions[i]->impl_->state;
  network.draw(scratch(), ids, {states, sessions.size()}, samplers, words, drawn);
  for (Session* session : sessions) session->impl_->require_finite_hidden();
}

std::span<const float> Session::logits() {
  Session* const one = this;
  compute_logits({&one, 1});
  return impl_->logits;
}

void Session::compute_logits(std::span<Session* const> sessions) {
  const Network& network = batch_network(sessions);
  std::vector<Impl*> wanting;
  for (Session* session : sessions) {
    session->impl_->require_logits();
    if (!session->impl_->logits_known) wanting.push_back(session->impl_.get());
  }
  const std::int64_t count = std::ssize(wanting), D = network.config().d_model;
  const std::int64_t V = network.config().vocab_rows();
  if (count == 0) return;
  for (Impl* each : wanting) each->logits.resize(static_cast<std::size_t>(V));
  const Arena::Scope scope(scratch());
  auto* hidden = scratch().take<float>(count * D);
  for (std::int64_t i = 0; i < count; ++i) {
    const NetworkState& state = wanting[static_cast<std::size_t>(i)]->state;
    std::copy_n(state.hidden_of(state.position - 1), D, hidden + i * D);
  }
  // One session's logits are made where they stay; those of many are shared out.
  float* made = count == 1 ? wanting.front()->logits.data() : scratch().take<float>(count * V);
  network.logits(scratch(), hidden, count, made);
  std::vector<char> finite(wanting.size());
  parallel_each(count, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    const float* row = made + i * V;
    finite[at] = std::all_of(row, row + V, [](float v) { return std::isfinite(v); });
    if (count > 1) std::copy_n(row, V, wanting[at]->logits.data());
  });
  for (std::size_t i = 0; i < wanting.size(); ++i) {
    if (!finite[i]) wanting[i]->not_finite();
  }
  for (Impl* each : wanting) each->logits_known = true;
}

const Network& Session::batch_network(std::span<Session* const> sessions) {
  if (sessions.empty()) fail(ErrorCode::invalid_argument, "a batch has no sessions, expected at least one");
  for (std::size_t i = 0; i < sessions.size(); ++i) {
    if (sessions[i] == nullptr) fail(ErrorCode::invalid_argument, "session {} of the batch is null", i);
  }
  const Network& network = sessions.front()->impl_->network();
  for (std::size_t i = 1; i < sessions.size(); ++i) {
    if (&sessions[i]->impl_->network() == &network) continue;
    fail(ErrorCode::invalid_argument, "session {} of the batch is of another model ({}) than session 0 ({})",
         i, sessions[i]->impl_->model.name(), sessions.front()->impl_->model.name());
  }
  if (sessions.size() == 1) return network;
  std::vector<Session*> sorted(sessions.begin(), sessions.end());
  std::ranges::sort(sorted, std::less<>());
  const auto twice = std::ranges::adjacent_find(sorted);
  if (twice != sorted.end()) {
    fail(ErrorCode::invalid_argument, "session {} stands twice in the batch, expected each once",
         std::ranges::find(sessions, *twice) - sessions.begin());
  }
  return network;
}

std::int64_t Session::rewindable() const {
  return impl_->state.rewindable();
}

void Session::rewind(std::int64_t tokens) {
  Impl& s = *impl_;
  if (tokens < 0 || tokens > rewindable()) {
    fail(ErrorCode::invalid_argument,
         "{} tokens are to be undone, expected 0 to {}: those that a checkpoint of the state does not hold "
         "yet",
         tokens, rewindable());
  }
  if (tokens == 0) return;
  s.network().rewind(scratch(), s.state, tokens);
  s.logits_known = false;
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
  return Session(std::move(twin));
}

void Session::save(const std::filesystem::path& path, const std::string& note) const {
  const Network& network = impl_->network();
  write_state(path, fingerprint(network.checkpoint()), {network.on_host(impl_->state), note});
}

Session Session::load(const Model& model, const std::filesystem::path& path, std::string* note) {
  const MappedFile file(path);
  SavedState saved =
      parse_state(file.bytes(), path.string(), fingerprint(model.network().checkpoint()), model.network());
  auto impl = std::make_unique<Impl>(model);
  impl->state = model.network().from_host(std::move(saved.network));
  if (note != nullptr) *note = std::move(saved.note);
  return Session(std::move(impl));
}

}  // namespace mamba3
