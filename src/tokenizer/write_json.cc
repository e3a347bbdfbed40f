#include "tokenizer/write_json.h"

#include <nlohmann/json.hpp>

namespace mamba3 {

std::string tokenizer_json(const TokenizerSpec& spec) {
  using nlohmann::ordered_json;
  ordered_json file = ordered_json::parse(spec.settings);
  ordered_json vocab = ordered_json::object(), merges = ordered_json::array();
  auto& words = vocab.get_ref<ordered_json::object_t&>();
  for (std::size_t id = 0; id < spec.tokens.size(); ++id) {
    // Straight to the end: ordered_json's own insertion looks through all keys first.
    if (!spec.tokens[id].empty()) words.push_back({spec.tokens[id], id});
  }
  for (const auto& [left, right] : spec.merges) merges.push_back({spec.tokens[left], spec.tokens[right]});
  file["model"]["vocab"] = std::move(vocab);
  file["model"]["merges"] = std::move(merges);
  return file.dump(1) + "\n";
}

}  // namespace mamba3
