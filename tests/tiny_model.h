// A model that can read and write text, small enough for every test.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "support.h"

namespace mamba3::test {

/// tests/fixtures/tiny-siso with a tokenizer of single letters beside it: every letter is a token. Ids: 0 is
/// <|endoftext|>, 1 to 60 are letters, among them é in two halves.
class TinyModel {
 public:
  explicit TinyModel(const char* name = "tiny-siso") {
    const auto source = fixtures() / name;
    for (const char* file : {"config.json", "pytorch_model.bin"}) {
      std::filesystem::copy_file(source / file, folder_ / file);
    }
    std::ofstream(folder_ / "tokenizer.json") << tokenizer();
  }
  std::string path() const { return folder_.path().string(); }

  static std::string tokenizer() {
    std::string vocab = R"("<|endoftext|>": 0)";
    int id = 0;
    const auto add = [&](const std::string& token) {
      vocab += ", \"" + token + "\": " + std::to_string(++id);
    };
    for (char c = 'a'; c <= 'z'; ++c) add({c});
    for (char c = 'A'; c <= 'Z'; ++c) add({c});
    add("\u0120");  // a blank
    add("\u010a");  // a line end
    add("\u00c3");  // the two bytes of é
    add("\u00a9");
    for (const char* c : {".", ",", "!", "?"}) add(c);
    return R"({"version": "1.0", "added_tokens": [{"id": 0, "content": "<|endoftext|>", "single_word": false,
      "lstrip": false, "rstrip": false, "normalized": false, "special": true}], "normalizer": null,
      "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
      "post_processor": null, "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
      "use_regex": true}, "model": {"type": "BPE", "dropout": null, "unk_token": null,
      "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
      "ignore_merges": false, "merges": [], "vocab": {)" +
           vocab + "}}}";
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace mamba3::test
