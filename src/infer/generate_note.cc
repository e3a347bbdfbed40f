// What a Generator needs besides its session, as the JSON text that travels with a saved state.
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "infer/generate.h"

namespace mamba3 {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "mamba3 generate 1";

json to_json(const SamplerOptions& o) {
  return {{"temperature", o.temperature},
          {"top_k", o.top_k},
          {"top_p", o.top_p},
          {"min_p", o.min_p},
          {"repeat_last", o.repeat_last},
          {"repeat_penalty", o.repeat_penalty},
          {"seed", o.seed}};
}

template <typename T>
T integer(const json& value) {
  if (!value.is_number_integer()) fail(ErrorCode::bad_format, "an integer is missing");
  return value.get<T>();
}

SamplerOptions sampler_options(const json& note) {
  return {.temperature = note.at("temperature").get<float>(),
          .top_k = integer<std::int64_t>(note.at("top_k")),
          .top_p = note.at("top_p").get<float>(),
          .min_p = note.at("min_p").get<float>(),
          .repeat_penalty = note.at("repeat_penalty").get<float>(),
          .repeat_last = integer<std::int64_t>(note.at("repeat_last")),
          .seed = integer<std::uint64_t>(note.at("seed"))};
}

Sampler::State sampler_state(const json& note, std::int64_t vocab_size) {
  Sampler::State state{.draws = integer<std::uint64_t>(note.at("draws")), .recent = {}};
  for (const json& item : note.at("recent")) {
    const auto id = integer<std::int64_t>(item);
    if (id < 0 || id >= vocab_size) fail(ErrorCode::bad_format, "{} is no token id", id);
    state.recent.push_back(static_cast<TokenId>(id));
  }
  return state;
}

// Half a character is no UTF-8, so it stands as numbers.
std::string bytes_from(const json& numbers) {
  std::string bytes;
  for (const json& number : numbers) bytes += static_cast<char>(integer<std::uint8_t>(number));
  return bytes;
}

json numbers_of(const std::string& bytes) {
  json numbers = json::array();
  for (const char byte : bytes) numbers.push_back(static_cast<std::uint8_t>(byte));
  return numbers;
}

std::optional<StopReason> ended_from(const json& name) {
  for (const StopReason reason : {StopReason::end, StopReason::stop}) {
    if (name == name_of(reason)) return reason;
  }
  return std::nullopt;
}

}  // namespace

std::string Generator::note() const {
  json note = {{"format", kFormat},
               {"sampling", to_json(options_.sampling)},
               {"draws", sampler_.state().draws},
               {"recent", sampler_.state().recent},
               {"stop", options_.stop},
               {"ignore_end", options_.ignore_end},
               {"pending", numbers_of(stream_.pending())},
               {"held", filter_.held()}};
  if (ended_) note["ended"] = name_of(*ended_);
  return note.dump();
}

void Generator::resume(const std::string& text, const std::string& where) {
  try {
    const json note = json::parse(text);
    if (note.at("format") != kFormat) fail(ErrorCode::bad_format, "its format is another");
    set_options({.sampling = sampler_options(note.at("sampling")),
                 .stop = note.at("stop").get<std::vector<std::string>>(),
                 .ignore_end = note.at("ignore_end").get<bool>()});
    sampler_.resume(sampler_state(note, session_.model().vocab_size()));
    stream_.resume(bytes_from(note.at("pending")));
    filter_.resume(note.at("held").get<std::string>());
    ended_ = ended_from(note.value("ended", json()));
  } catch (const std::exception& error) {
    fail(ErrorCode::bad_format, "{}: the note in the state is not one of a text to go on with: {}", where,
         error.what());
  }
}

}  // namespace mamba3
