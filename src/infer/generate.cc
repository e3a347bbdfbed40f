#include "infer/generate.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/error.h"
#include "core/utf8.h"
#include "infer/process.h"
#include "model/network.h"

namespace mamba3 {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

std::string_view name_of(StopReason reason) {
  switch (reason) {
    case StopReason::length:
      return "length";
    case StopReason::end:
      return "end";
    case StopReason::stop:
      return "stop";
    case StopReason::interrupt:
      return "interrupt";
  }
  return "";
}

void GenerateOptions::check() const {
  sampling.check();
  for (const std::string& text : stop) {
    if (text.empty())
      fail(ErrorCode::invalid_argument, "a stop text is empty, expected at least a character");
    check_utf8(text, "a stop text");
  }
}

double Generator::Statistics::prompt_rate() const {
  return prompt_seconds > 0 ? static_cast<double>(prompt_tokens) / prompt_seconds : 0;
}

double Generator::Statistics::decode_rate() const {
  return ids.size() > 1 && decode_seconds > 0 ? static_cast<double>(ids.size() - 1) / decode_seconds : 0;
}

Generator::Generator(Session session, GenerateOptions options)
    : session_(std::move(session)),
      options_(std::move(options)),
      sampler_(options_.sampling),
      stream_(session_.model().tokenizer()),
      filter_(options_.stop),
      end_tokens_(session_.model().tokenizer().end_tokens()),
      words_(std::min(session_.model().network().config().vocab_size,
                      session_.model().tokenizer().vocab_size())) {
  options_.check();
}

void Generator::set_options(GenerateOptions options) {
  options.check();
  if (ended_ == StopReason::stop && options.stop != options_.stop) ended_.reset();
  Sampler::State state = sampler_.state();
  const auto most = static_cast<std::size_t>(options.sampling.repeat_last);
  if (state.recent.size() > most) state.recent.erase(state.recent.begin(), state.recent.end() - most);
  sampler_ = Sampler(options.sampling);
  sampler_.resume(std::move(state));
  const std::string held = filter_.held();
  filter_ = StopFilter(options.stop);
  filter_.resume(held);
  options_ = std::move(options);
}

std::string Generator::read(std::string_view text) {
  const Tokenizer& tokenizer = session_.model().tokenizer();
  std::vector<TokenId> ids;
  if (unread_) ids.push_back(*unread_);
  const std::size_t old = ids.size();
  if (session_.position() == 0) {
    if (const auto start = tokenizer.start_token()) ids.push_back(*start);
  }
  const auto words = tokenizer.encode(text, /*with_template=*/false);
  ids.insert(ids.end(), words.begin(), words.end());
  if (session_.position() == 0 && ids.empty()) {
    fail(ErrorCode::invalid_argument, "{}: the prompt is empty, and the tokenizer has no start token",
         session_.model().name());
  }
  const auto start = Clock::now();
  session_.prefill(ids);
  statistics_.prompt_seconds += seconds_since(start);
  statistics_.prompt_tokens += static_cast<std::int64_t>(ids.size() - old);
  unread_.reset();
  for (std::size_t i = old; i < ids.size(); ++i) sampler_.accept(ids[i]);
  ended_.reset();
  std::string held = finish();
  filter_ = StopFilter(options_.stop);
  return held;
}

// Reads the last token and draws from what follows it.
TokenId Generator::draw() {
  if (!unread_) return sampler_.sample(session_.logits(), words_);
  return session_.step(*std::exchange(unread_, std::nullopt), sampler_, words_);
}

void Generator::read_last() {
  if (unread_) session_.step(*std::exchange(unread_, std::nullopt));
}

TokenId Generator::next() {
  const TokenId id = draw();
  if (statistics_.ids.empty()) {
    first_token_ = Clock::now();
    statistics_.first_token_second = seconds_since_process_start();
  }
  statistics_.decode_seconds = seconds_since(first_token_);
  statistics_.ids.push_back(id);
  sampler_.accept(id);
  unread_ = id;
  return id;
}

bool Generator::is_end(TokenId id) const {
  return !options_.ignore_end && std::ranges::find(end_tokens_, id) != end_tokens_.end();
}

StopReason Generator::run(std::int64_t tokens, const TextSink& sink,
                          const std::function<bool()>& interrupted) {
  if (ended_ == StopReason::stop || (ended_ && !options_.ignore_end)) return *ended_;
  ended_.reset();
  const auto emit = [&](const std::string& text) {
    if (!text.empty()) sink(text);
  };
  for (std::int64_t i = 0; tokens < 0 || i < tokens; ++i) {
    if (interrupted && interrupted()) return StopReason::interrupt;
    const TokenId id = next();
    if (is_end(id)) {
      emit(finish());
      return *(ended_ = StopReason::end);
    }
    emit(filter_.push(stream_.push(id)));
    if (filter_.stopped()) {
      stream_.resume({});
      return *(ended_ = StopReason::stop);
    }
  }
  return StopReason::length;
}

std::string Generator::finish() {
  return filter_.push(stream_.finish()) + filter_.finish();
}

void Generator::save(const std::filesystem::path& path) {
  read_last();
  session_.save(path, note());
}

Generator Generator::load(const Model& model, const std::filesystem::path& path) {
  std::string note;
  Session session = Session::load(model, path, &note);
  Generator generator(std::move(session), {});
  if (!note.empty()) generator.resume(note, path.string());
  return generator;
}

}  // namespace mamba3
