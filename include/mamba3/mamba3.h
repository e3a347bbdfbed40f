/**
 * @file mamba3.h
 * The C API of mamba3: load a model, read text, continue it, keep its state. Plain C99; examples/story.c
 * shows all of it.
 *
 * Errors: functions that can fail return a mamba3_status; on failure mamba3_last_error() has one sentence,
 * what the call should have written is left as it was (sizes excepted, where said), and its objects stay
 * usable. No C++ exception crosses this border. A null pointer where an object or a result is needed is
 * MAMBA3_INVALID_ARGUMENT.
 *
 * Ownership: what a `_new`, `_load` or `_fork` function gives belongs to the caller, who frees it with the
 * `_free` of its type (null is allowed there). Objects keep alive what they need: a model may be freed before
 * its sessions.
 *
 * Threads: a model may be shared; a session or a sampler belongs to one thread at a time.
 *
 * Buffers of the caller (`to`, `capacity`, `count`): `*count` is set to the number of elements there are.
 * With capacity 0 that is all, and the status is MAMBA3_OK; with a capacity that is too small nothing is
 * written and the status is MAMBA3_INVALID_ARGUMENT. Texts are bytes with a length, without a NUL at the end.
 */
#ifndef MAMBA3_MAMBA3_H_
#define MAMBA3_MAMBA3_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Why a call failed: the numbers of mamba3::ErrorCode, and 0 for success. */
typedef enum mamba3_status {
  MAMBA3_OK = 0,
  MAMBA3_INVALID_ARGUMENT = 1, /**< an argument or option outside what is allowed */
  MAMBA3_NOT_FOUND = 2,        /**< a file, folder or tensor that is not there */
  MAMBA3_BAD_FORMAT = 3,       /**< a file that contradicts its format or itself */
  MAMBA3_UNSUPPORTED = 4,      /**< well formed, but not built (yet) */
  MAMBA3_IO = 5,               /**< the system refused to read or write */
  MAMBA3_NUMERIC = 6,          /**< NaN or infinity where numbers are needed */
  MAMBA3_INTERNAL = 7,         /**< out of memory, or a fault of this library */
  MAMBA3_DEVICE = 8,           /**< a device that is not there, or that failed */
  MAMBA3_OUT_OF_MEMORY = 9     /**< a device's memory is too small */
} mamba3_status;

/** A row of the vocabulary. */
typedef int32_t mamba3_token;

typedef struct mamba3_model mamba3_model;     /**< weights and tokenizer, immutable */
typedef struct mamba3_session mamba3_session; /**< one text being read and continued: a state of fixed size */
typedef struct mamba3_sampler mamba3_sampler; /**< chooses tokens; counts its draws */

/** The library's version, "0.1.0" say. Never null. */
const char* mamba3_version(void);

/** The sentence of this thread's last failure, "" when there was none. Valid until the thread's next failure.
 */
const char* mamba3_last_error(void);

/** Threads that later work uses, in the whole process; 0 stands for one for each physical core, within what
 * the process is granted. Fails below 0 and above the processors that the process may use. Not while sessions
 * are at work. */
mamba3_status mamba3_set_threads(int threads);
/** Threads that later work uses. */
int mamba3_threads(void);

/* ---- Model ---- */

/**
 * Loads an official folder (config.json, weights, tokenizer.json) or a .gguf file. Weights stay in the mapped
 * file, which must not change while the model or one of its sessions lives.
 * @param path  a NUL-terminated path
 * @param model receives the model
 * @return MAMBA3_NOT_FOUND, MAMBA3_BAD_FORMAT, MAMBA3_UNSUPPORTED or MAMBA3_IO with a sentence that names the
 * file
 */
mamba3_status mamba3_model_load(const char* path, mamba3_model** model);
/**
 * The same on a device: "cpu", "cuda" or "cuda:1".
 * @return also MAMBA3_DEVICE and MAMBA3_OUT_OF_MEMORY
 */
mamba3_status mamba3_model_load_on(const char* path, const char* device, mamba3_model** model);
void mamba3_model_free(mamba3_model* model);

/** Number of logits: rows of the embedding, those without a token included. 0 for null. */
int64_t mamba3_model_vocab_size(const mamba3_model* model);
/** Bytes of memory of one session's state, however long its text. 0 for null. */
int64_t mamba3_model_state_bytes(const mamba3_model* model);
/** Whether the model can turn text into tokens: 1 or 0. 0 for null. */
int mamba3_model_has_tokenizer(const mamba3_model* model);

/* ---- Text and tokens: MAMBA3_NOT_FOUND when the model has no tokenizer ---- */

/**
 * UTF-8 text to tokens. Special tokens in the text are recognised.
 * @param text, size    the text; NUL bytes are allowed
 * @param with_template not 0: add what the tokenizer's post-processor adds (often a start token)
 * @param ids, capacity the caller's buffer; count receives the number of tokens there are (see above)
 * @return MAMBA3_INVALID_ARGUMENT when the text is not UTF-8 or the buffer too small
 */
mamba3_status mamba3_tokenize(const mamba3_model* model, const char* text, size_t size, int with_template,
                              mamba3_token* ids, size_t capacity, size_t* count);

/**
 * Tokens to UTF-8 text; incomplete characters become U+FFFD.
 * @param ids, count     the tokens
 * @param skip_special   not 0: leave special tokens out
 * @param text, capacity the caller's buffer; size receives the number of bytes there are (see above)
 * @return MAMBA3_INVALID_ARGUMENT when an id is outside the vocabulary or the buffer too small
 */
mamba3_status mamba3_detokenize(const mamba3_model* model, const mamba3_token* ids, size_t count,
                                int skip_special, char* text, size_t capacity, size_t* size);

/**
 * The bytes that one token stands for (perhaps a part of a character), for writing text as it comes.
 * @param bytes, size receive them; they belong to the model
 */
mamba3_status mamba3_token_bytes(const mamba3_model* model, mamba3_token id, const char** bytes,
                                 size_t* size);

/** The token that is put before a text. MAMBA3_NOT_FOUND when the tokenizer has none. */
mamba3_status mamba3_start_token(const mamba3_model* model, mamba3_token* id);
/** Whether a token ends a text: 1 or 0. 0 for null and without a tokenizer. */
int mamba3_is_end_token(const mamba3_model* model, mamba3_token id);

/* ---- Session ---- */

/** A session that has read nothing. */
mamba3_status mamba3_session_new(const mamba3_model* model, mamba3_session** session);
void mamba3_session_free(mamba3_session* session);

/** An independent session at the same position. */
mamba3_status mamba3_session_fork(const mamba3_session* session, mamba3_session** fork);

/**
 * Reads `count` tokens after what was read before. Any division of a text into calls, with saving, loading
 * and forking between them, gives the same bits. Fails with MAMBA3_INVALID_ARGUMENT, nothing read, for an id
 * outside the vocabulary.
 */
mamba3_status mamba3_session_prefill(mamba3_session* session, const mamba3_token* ids, size_t count);

/** Reads one token, the fast way for one at a time. Agrees with prefill within rounding, not to the bit. */
mamba3_status mamba3_session_step(mamba3_session* session, mamba3_token id);

/**
 * mamba3_session_step for `count` sessions of one model, each with a token of its own: the weights are read
 * once for all, and each session goes on with the bits that it would have alone.
 * @return MAMBA3_INVALID_ARGUMENT, and no session has moved, for a count of 0, an id outside the vocabulary,
 * sessions of different models, or a session that stands there twice
 */
mamba3_status mamba3_session_step_batch(mamba3_session* const* sessions, const mamba3_token* ids,
                                        size_t count);

/** Makes the logits of `count` sessions of one model known, in one product for all that are not yet. Fails as
 * mamba3_session_step_batch and mamba3_session_logits do. */
mamba3_status mamba3_session_compute_logits(mamba3_session* const* sessions, size_t count);

/** How many of the last tokens mamba3_session_rewind can undo now: it grows with each token, and falls to 0
 * where the state takes them in for good. 0 for null. */
int64_t mamba3_session_rewindable(const mamba3_session* session);

/** Undoes the last `tokens` tokens: the session goes on with the bits it would have if it had not read them.
 * MAMBA3_INVALID_ARGUMENT for more than mamba3_session_rewindable(). */
mamba3_status mamba3_session_rewind(mamba3_session* session, int64_t tokens);

/**
 * Logits of the next token.
 * @param logits, count receive mamba3_model_vocab_size() floats, which belong to the session until it moves
 * on
 * @return MAMBA3_INVALID_ARGUMENT before the first token, MAMBA3_NUMERIC when they are not finite
 */
mamba3_status mamba3_session_logits(mamba3_session* session, const float** logits, size_t* count);

/** Tokens read so far. 0 for null. */
int64_t mamba3_session_position(const mamba3_session* session);

/** Writes the state to a file, atomically. MAMBA3_IO when the system refuses: the file is then as it was. */
mamba3_status mamba3_session_save(const mamba3_session* session, const char* path);

/** A session that goes on from a saved state with the same bits. MAMBA3_NOT_FOUND, MAMBA3_BAD_FORMAT when the
 * file is no state or damaged, MAMBA3_INVALID_ARGUMENT or MAMBA3_BAD_FORMAT when it belongs to another model.
 */
mamba3_status mamba3_session_load(const mamba3_model* model, const char* path, mamba3_session** session);

/* ---- Sampler ---- */

/** How the next token is chosen. Take the defaults, then change what you want. */
typedef struct mamba3_sampler_options {
  float temperature;    /**< divides the logits, >= 0; 0 takes the most likely token */
  int64_t top_k;        /**< keep the k most likely; 0: all */
  float top_p;          /**< keep the fewest whose probabilities sum to p; 1: all */
  float min_p;          /**< keep those at least min_p times as likely as the likeliest; 0: all */
  float repeat_penalty; /**< divides positive and multiplies negative logits of recent tokens; 1: none */
  int64_t repeat_last;  /**< how many recent tokens that counts */
  uint64_t seed;        /**< the n-th draw depends on the seed and n alone */
} mamba3_sampler_options;

/** The defaults of mamba3::SamplerOptions. */
mamba3_sampler_options mamba3_sampler_defaults(void);

/** A sampler that has drawn nothing. MAMBA3_INVALID_ARGUMENT names the option that is out of range. */
mamba3_status mamba3_sampler_new(const mamba3_sampler_options* options, mamba3_sampler** sampler);
void mamba3_sampler_free(mamba3_sampler* sampler);

/** An independent sampler that will draw the same. */
mamba3_status mamba3_sampler_fork(const mamba3_sampler* sampler, mamba3_sampler** fork);

/** Chooses the token after what the session has read; the session does not move. Fails as
 * mamba3_session_logits does. */
mamba3_status mamba3_sampler_sample(mamba3_sampler* sampler, mamba3_session* session, mamba3_token* id);

/** A token of the text, sampled or read: counts for the repeat penalty. */
mamba3_status mamba3_sampler_accept(mamba3_sampler* sampler, mamba3_token id);

#ifdef __cplusplus
}
#endif

#endif
