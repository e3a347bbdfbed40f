// The C API: handles around the C++ API, and exceptions turned into status codes.
#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "mamba3/mamba3.h"
#include "mamba3/mamba3.hpp"
#include "model/network.h"

struct mamba3_model {
  mamba3::Model model;
};
struct mamba3_session {
  mamba3::Session session;
};
struct mamba3_sampler {
  mamba3::Sampler sampler;
};

namespace {

using namespace mamba3;

// A fixed buffer, so that reporting a failure cannot fail. No message of ours is longer.
thread_local char last_error[2048] = "";

mamba3_status failed(ErrorCode code, std::string_view message) noexcept {
  const std::size_t size = std::min(message.size(), sizeof last_error - 1);
  std::memcpy(last_error, message.data(), size);
  last_error[size] = '\0';
  return static_cast<mamba3_status>(code);
}

template <typename Work>
mamba3_status guarded(const Work& work) noexcept {
  try {
    work();
    return MAMBA3_OK;
  } catch (const Error& error) {
    return failed(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return failed(ErrorCode::internal, "out of memory");
  } catch (const std::exception& error) {
    return failed(ErrorCode::internal, error.what());
  } catch (...) {
    return failed(ErrorCode::internal, "an exception of unknown type");
  }
}

// What a pointer points to. `name` is the parameter's.
template <typename T>
T& at(T* pointer, const char* name) {
  if (pointer == nullptr) fail(ErrorCode::invalid_argument, "{} is null", name);
  return *pointer;
}

template <typename T>
std::span<T> range(T* pointer, std::size_t count, const char* name) {
  if (count > 0) at(pointer, name);
  return {pointer, count};
}

std::vector<Session*> batch(mamba3_session* const* sessions, std::size_t count) {
  std::vector<Session*> all;
  for (mamba3_session* each : range(sessions, count, "sessions")) {
    all.push_back(&at(each, "a session of the batch").session);
  }
  return all;
}

// Fills a caller's buffer, or only says how large it must be.
template <typename T, typename Values>
void give(const Values& values, const char* what, T* to, std::size_t capacity, std::size_t* count) {
  at(count, what);
  *count = values.size();
  if (capacity == 0) return;
  if (capacity < values.size()) {
    fail(ErrorCode::invalid_argument, "the buffer has room for {} {}, expected at least {}", capacity, what,
         values.size());
  }
  std::copy(values.begin(), values.end(), range(to, capacity, what).begin());
}

// Hands a new object to the caller. `to` has been checked, before the work that made it.
template <typename Handle, typename Value>
void give(Value value, Handle** to) {
  *to = new Handle{std::move(value)};
}

}  // namespace

extern "C" {

const char* mamba3_version(void) {
  return MAMBA3_VERSION;
}
const char* mamba3_last_error(void) {
  return last_error;
}

mamba3_status mamba3_set_threads(int threads) {
  return guarded([&] { set_threads(threads); });
}
int mamba3_threads(void) {
  return threads();
}

mamba3_status mamba3_model_load(const char* path, mamba3_model** model) {
  return mamba3_model_load_on(path, "cpu", model);
}
mamba3_status mamba3_model_load_on(const char* path, const char* device, mamba3_model** model) {
  return guarded([&] {
    at(model, "model");
    give(Model::load(&at(path, "path"), Activations::rounded, &at(device, "device")), model);
  });
}
void mamba3_model_free(mamba3_model* model) {
  delete model;
}
int64_t mamba3_model_vocab_size(const mamba3_model* model) {
  return model ? model->model.vocab_size() : 0;
}
int64_t mamba3_model_state_bytes(const mamba3_model* model) {
  return model ? model->model.state_bytes() : 0;
}
int mamba3_model_has_tokenizer(const mamba3_model* model) {
  return model && model->model.has_tokenizer() ? 1 : 0;
}

mamba3_status mamba3_tokenize(const mamba3_model* model, const char* text, size_t size, int with_template,
                              mamba3_token* ids, size_t capacity, size_t* count) {
  return guarded([&] {
    const auto bytes = range(text, size, "text");
    const Tokenizer& tokenizer = at(model, "model").model.tokenizer();
    give(tokenizer.encode({bytes.data(), bytes.size()}, with_template != 0), "tokens", ids, capacity, count);
  });
}

mamba3_status mamba3_detokenize(const mamba3_model* model, const mamba3_token* ids, size_t count,
                                int skip_special, char* text, size_t capacity, size_t* size) {
  return guarded([&] {
    const Tokenizer& tokenizer = at(model, "model").model.tokenizer();
    give(tokenizer.decode(range(ids, count, "ids"), skip_special != 0), "bytes", text, capacity, size);
  });
}

mamba3_status mamba3_token_bytes(const mamba3_model* model, mamba3_token id, const char** bytes,
                                 size_t* size) {
  return guarded([&] {
    at(bytes, "bytes"), at(size, "size");
    const std::string_view found = at(model, "model").model.tokenizer().bytes_of(id);
    *bytes = found.data(), *size = found.size();
  });
}

mamba3_status mamba3_start_token(const mamba3_model* model, mamba3_token* id) {
  return guarded([&] {
    at(id, "id");
    const Model& m = at(model, "model").model;
    const auto start = m.tokenizer().start_token();
    if (!start) fail(ErrorCode::not_found, "{}: the tokenizer has no start token", m.name());
    *id = *start;
  });
}

int mamba3_is_end_token(const mamba3_model* model, mamba3_token id) {
  int found = 0;
  guarded([&] {
    if (!mamba3_model_has_tokenizer(model)) return;
    const auto ends = model->model.tokenizer().end_tokens();
    found = std::find(ends.begin(), ends.end(), id) != ends.end() ? 1 : 0;
  });
  return found;
}

mamba3_status mamba3_session_new(const mamba3_model* model, mamba3_session** session) {
  return guarded([&] {
    at(session, "session");
    give(Session(at(model, "model").model), session);
  });
}
void mamba3_session_free(mamba3_session* session) {
  delete session;
}

mamba3_status mamba3_session_fork(const mamba3_session* session, mamba3_session** fork) {
  return guarded([&] {
    at(fork, "fork");
    give(at(session, "session").session.fork(), fork);
  });
}

mamba3_status mamba3_session_prefill(mamba3_session* session, const mamba3_token* ids, size_t count) {
  return guarded([&] { at(session, "session").session.prefill(range(ids, count, "ids")); });
}

mamba3_status mamba3_session_step(mamba3_session* session, mamba3_token id) {
  return guarded([&] { at(session, "session").session.step(id); });
}

mamba3_status mamba3_session_step_batch(mamba3_session* const* sessions, const mamba3_token* ids,
                                        size_t count) {
  return guarded([&] { Session::step(batch(sessions, count), range(ids, count, "ids")); });
}

mamba3_status mamba3_session_compute_logits(mamba3_session* const* sessions, size_t count) {
  return guarded([&] { Session::compute_logits(batch(sessions, count)); });
}

int64_t mamba3_session_rewindable(const mamba3_session* session) {
  return session ? session->session.rewindable() : 0;
}

mamba3_status mamba3_session_rewind(mamba3_session* session, int64_t tokens) {
  return guarded([&] { at(session, "session").session.rewind(tokens); });
}

mamba3_status mamba3_session_logits(mamba3_session* session, const float** logits, size_t* count) {
  return guarded([&] {
    at(logits, "logits"), at(count, "count");
    const auto found = at(session, "session").session.logits();
    *logits = found.data(), *count = found.size();
  });
}

int64_t mamba3_session_position(const mamba3_session* session) {
  return session ? session->session.position() : 0;
}

mamba3_status mamba3_session_save(const mamba3_session* session, const char* path) {
  return guarded([&] { at(session, "session").session.save(&at(path, "path")); });
}

mamba3_status mamba3_session_load(const mamba3_model* model, const char* path, mamba3_session** session) {
  return guarded([&] {
    at(session, "session");
    give(Session::load(at(model, "model").model, &at(path, "path")), session);
  });
}

mamba3_sampler_options mamba3_sampler_defaults(void) {
  const SamplerOptions o;
  return {o.temperature, o.top_k, o.top_p, o.min_p, o.repeat_penalty, o.repeat_last, o.seed};
}

mamba3_status mamba3_sampler_new(const mamba3_sampler_options* options, mamba3_sampler** sampler) {
  return guarded([&] {
    at(sampler, "sampler");
    const auto& o = at(options, "options");
    give(Sampler({o.temperature, o.top_k, o.top_p, o.min_p, o.repeat_penalty, o.repeat_last, o.seed}),
         sampler);
  });
}
void mamba3_sampler_free(mamba3_sampler* sampler) {
  delete sampler;
}

mamba3_status mamba3_sampler_fork(const mamba3_sampler* sampler, mamba3_sampler** fork) {
  return guarded([&] {
    at(fork, "fork");
    give(Sampler(at(sampler, "sampler").sampler), fork);
  });
}

mamba3_status mamba3_sampler_sample(mamba3_sampler* sampler, mamba3_session* session, mamba3_token* id) {
  return guarded([&] {
    at(id, "id");
    Session& s = at(session, "session").session;
    const Model& m = s.model();
    auto words = m.network().config().vocab_size;
    if (m.has_tokenizer()) words = std::min(words, m.tokenizer().vocab_size());
    *id = at(sampler, "sampler").sampler.sample(s.logits(), words);
  });
}

mamba3_status mamba3_sampler_accept(mamba3_sampler* sampler, mamba3_token id) {
  return guarded([&] { at(sampler, "sampler").sampler.accept(id); });
}

}  // extern "C"
