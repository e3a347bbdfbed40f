/* Continues a text with the C API, stops, and goes on from a copy of the session and from a saved one: the
 * three texts are the same.
 *
 *   story MODEL [PROMPT [STATE-FILE]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mamba3/mamba3.h"

enum { kTokens = 32 };

/* Ends the program with the library's sentence when a call failed. */
static void check(mamba3_status status) {
  if (status == MAMBA3_OK) return;
  fprintf(stderr, "%s\n", mamba3_last_error());
  exit(EXIT_FAILURE);
}

static void* allocate(size_t size) {
  void* memory = malloc(size);
  if (memory == NULL) {
    fprintf(stderr, "out of memory\n");
    exit(EXIT_FAILURE);
  }
  return memory;
}

/* The start token, where the model has one, and the prompt's tokens. */
static mamba3_token* tokens_of(const mamba3_model* model, const char* prompt, size_t* count) {
  size_t words = 0, first = 0;
  mamba3_token* ids;
  check(mamba3_tokenize(model, prompt, strlen(prompt), 0, NULL, 0, &words));
  ids = allocate((words + 1) * sizeof *ids);
  if (mamba3_start_token(model, &ids[0]) == MAMBA3_OK) first = 1;
  check(mamba3_tokenize(model, prompt, strlen(prompt), 0, ids + first, words, &words));
  *count = first + words;
  return ids;
}

/* Goes on with the text: up to kTokens tokens into ids; returns how many. */
static size_t continue_story(const mamba3_model* model, mamba3_session* session, mamba3_sampler* sampler,
                             mamba3_token* ids) {
  size_t count;
  for (count = 0; count < kTokens; ++count) {
    check(mamba3_sampler_sample(sampler, session, &ids[count]));
    if (mamba3_is_end_token(model, ids[count])) break;
    check(mamba3_sampler_accept(sampler, ids[count]));
    check(mamba3_session_step(session, ids[count]));
  }
  return count;
}

static void print_tokens(const mamba3_model* model, const mamba3_token* ids, size_t count) {
  size_t size = 0;
  char* text;
  check(mamba3_detokenize(model, ids, count, 1, NULL, 0, &size));
  text = allocate(size + 1);
  check(mamba3_detokenize(model, ids, count, 1, text, size, &size));
  fwrite(text, 1, size, stdout);
  free(text);
}

int main(int argc, char** argv) {
  const char* prompt = argc > 2 ? argv[2] : "Once upon a time";
  const char* state_file = argc > 3 ? argv[3] : "story.state";
  mamba3_sampler_options options = mamba3_sampler_defaults();
  mamba3_model* model;
  mamba3_session *session, *forked, *loaded;
  mamba3_sampler *sampler, *forked_sampler, *loaded_sampler;
  mamba3_token *ids, beginning[kTokens], end[3][kTokens];
  size_t count, sizes[3];
  int same;

  if (argc < 2) {
    fprintf(stderr, "usage: %s MODEL [PROMPT [STATE-FILE]]\n", argv[0]);
    return 2;
  }
  check(mamba3_model_load(argv[1], &model));
  check(mamba3_session_new(model, &session));
  ids = tokens_of(model, prompt, &count);
  check(mamba3_session_prefill(session, ids, count));
  options.seed = 7;
  check(mamba3_sampler_new(&options, &sampler));
  printf("%s", prompt);
  print_tokens(model, beginning, continue_story(model, session, sampler, beginning));

  /* Three ways to go on: a fork, a saved and loaded state, and the session itself. */
  check(mamba3_session_fork(session, &forked));
  check(mamba3_session_save(session, state_file));
  check(mamba3_session_load(model, state_file, &loaded));
  check(mamba3_sampler_fork(sampler, &forked_sampler));
  check(mamba3_sampler_fork(sampler, &loaded_sampler));
  sizes[0] = continue_story(model, session, sampler, end[0]);
  sizes[1] = continue_story(model, forked, forked_sampler, end[1]);
  sizes[2] = continue_story(model, loaded, loaded_sampler, end[2]);
  print_tokens(model, end[0], sizes[0]);
  printf("\n");
  same = sizes[1] == sizes[0] && memcmp(end[1], end[0], sizes[0] * sizeof **end) == 0 &&
         sizes[2] == sizes[0] && memcmp(end[2], end[0], sizes[0] * sizeof **end) == 0;
  fprintf(stderr, "%lld tokens read; the forked and the loaded session %s\n",
          (long long)mamba3_session_position(session), same ? "agree" : "DIFFER");

  free(ids);
  mamba3_sampler_free(loaded_sampler);
  mamba3_sampler_free(forked_sampler);
  mamba3_sampler_free(sampler);
  mamba3_session_free(loaded);
  mamba3_session_free(forked);
  mamba3_session_free(session);
  mamba3_model_free(model);
  return same ? EXIT_SUCCESS : EXIT_FAILURE;
}
