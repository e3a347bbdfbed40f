// Continues a text with the C++ API, stops, and goes on from a copy of the session and from a saved one: the
// three texts are the same.
//
//   story MODEL [PROMPT [STATE-FILE]]
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "mamba3/mamba3.hpp"

namespace {

constexpr int kTokens = 32;

struct Story {
  mamba3::Session session;
  mamba3::Sampler sampler;
};

// Goes on with the text for up to `tokens` tokens.
std::string continue_story(Story& story, int tokens) {
  const mamba3::Model model = story.session.model();
  const std::vector<mamba3::TokenId> ends = model.tokenizer().end_tokens();
  mamba3::TextStream stream(model.tokenizer());
  std::string text;
  for (int i = 0; i < tokens; ++i) {
    const mamba3::TokenId id = story.sampler.sample(story.session.logits(), model.tokenizer().vocab_size());
    for (const mamba3::TokenId end : ends) {
      if (id == end) return text + stream.finish();
    }
    text += stream.push(id);
    story.sampler.accept(id);
    story.session.step(id);
  }
  return text + stream.finish();
}

int tell(const std::string& path, const std::string& prompt, const std::string& state_file) {
  const mamba3::Model model = mamba3::Model::load(path);

  std::vector<mamba3::TokenId> ids = model.tokenizer().encode(prompt, /*with_template=*/false);
  if (const auto start = model.tokenizer().start_token()) ids.insert(ids.begin(), *start);

  mamba3::SamplerOptions options;
  options.seed = 7;
  Story story{mamba3::Session(model), mamba3::Sampler(options)};
  story.session.prefill(ids);
  const std::string beginning = continue_story(story, kTokens);

  // Three ways to go on: a fork, a saved and loaded state, and the session itself.
  Story forked{story.session.fork(), story.sampler};
  story.session.save(state_file);
  Story loaded{mamba3::Session::load(model, state_file), story.sampler};
  const std::string end = continue_story(story, kTokens);
  const bool same = continue_story(forked, kTokens) == end && continue_story(loaded, kTokens) == end;

  std::printf("%s%s%s\n", prompt.c_str(), beginning.c_str(), end.c_str());
  std::fprintf(stderr, "%lld tokens read; the forked and the loaded session %s\n",
               static_cast<long long>(story.session.position()), same ? "agree" : "DIFFER");
  return same ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s MODEL [PROMPT [STATE-FILE]]\n", argv[0]);
    return 2;
  }
  try {
    return tell(argv[1], argc > 2 ? argv[2] : "Once upon a time", argc > 3 ? argv[3] : "story.state");
  } catch (const mamba3::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
