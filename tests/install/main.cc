// Loads a model through the installed headers and library and asks for one set of logits.
#include <cstdio>
#include <mamba3/mamba3.hpp>
#include <vector>

int main(int argc, char** argv) {
  try {
    mamba3::Session session(mamba3::Model::load(argc > 1 ? argv[1] : "no-model"));
    const std::vector<mamba3::TokenId> ids = {1, 2, 3};
    session.prefill(ids);
    std::printf("%zu logits at position %lld\n", session.logits().size(),
                static_cast<long long>(session.position()));
    return 0;
  } catch (const mamba3::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
