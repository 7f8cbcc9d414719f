/*
 * libsluice: run LFM2 and LFM2-MoE models from GGUF files.
 *
 * Three objects. A model is an opened file with its tokenizer and worker threads. A
 * session is memory for sequences (KV cache, convolution states, scratch) of one
 * model. A sequence is a list of tokens that have been computed, which can be
 * appended to, forked and rewound.
 *
 *     sluice_model_open → sluice_session_new → sluice_seq_new
 *     → sluice_decode(tokens) → logits → sluice_sampler_sample → sluice_decode ...
 *
 * doc/example.c is a complete program.
 *
 * Functions return 0 (or a count) on success and a negative errno on failure; those
 * that take a struct sluice_error write one line for a person into it (NULL is
 * allowed). Objects are closed in the reverse order of their making. One thread at a
 * time per model and everything made from it.
 *
 * Exactness: logits depend on the tokens of the sequence alone, bit for bit; not on
 * threads, on how tokens are divided into calls, or on other sequences.
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_API __attribute__((visibility("default")))

struct sluice_error {
    char text[512]; /* one line, terminated */
};

/* "0.1.0" */
SLUICE_API const char *sluice_version(void);

/* ---- model ---- */

struct sluice_model;

enum sluice_cpu {
    SLUICE_CPU_AUTO = 0, /* the best this machine has */
    SLUICE_CPU_C,
    SLUICE_CPU_AVX2,
    SLUICE_CPU_AVX512,
};

/* Where the experts are while computing. */
enum sluice_residency {
    SLUICE_RESIDENCY_AUTO = 0, /* resident if everything fits into the memory, else stream */
    SLUICE_RESIDENCY_RESIDENT, /* in the file's mapping */
    SLUICE_RESIDENCY_STREAM,   /* in a bounded cache, read from the file as needed */
};

/* How a streaming model reads: each falls back to the next, unless it was asked for. */
enum sluice_io {
    SLUICE_IO_AUTO = 0,
    SLUICE_IO_URING,    /* io_uring, or fail */
    SLUICE_IO_PREAD,    /* a pool of threads */
    SLUICE_IO_BUFFERED, /* a pool of threads, without direct I/O */
};

enum sluice_predict {
    SLUICE_PREDICT_ON = 0, /* read experts ahead that the routers of later layers name */
    SLUICE_PREDICT_OFF,
};

enum sluice_policy { /* which experts are given up */
    SLUICE_POLICY_DEFAULT = 0,
    SLUICE_POLICY_LRU,
    SLUICE_POLICY_LFU,
};

enum sluice_numa { /* on machines with more than one NUMA node */
    SLUICE_NUMA_SPLIT = 0, /* spread experts over the nodes that may be used; and weights
                              that every token needs, or a copy on each if memory allows */
    SLUICE_NUMA_OFF,       /* leave memory to the system: where it is first used */
};

#define SLUICE_RAM_MIN 1u /* as ram_bytes: the smallest that works */

struct sluice_session_opts;

struct sluice_model_opts {
    uint32_t n_threads; /* 0: one per physical core within cpuset and quota */
    enum sluice_cpu cpu;
    uint32_t flags; /* 0 or SLUICE_MODEL_* */
    /* Memory for the whole process, bytes; SLUICE_RAM_MIN; 0: what the system can give. It
     * bounds weights, sessions, the expert cache and everything else together. */
    uint64_t ram_bytes;
    enum sluice_residency residency;
    enum sluice_io io;
    enum sluice_predict predict;
    enum sluice_policy policy;
    /* What the session will be made with, so that memory can be planned before anything
     * is read. NULL: a session of defaults. Borrowed during the call. */
    const struct sluice_session_opts *session;
    const char *replay_path;  /* guesses from a trace in place of predictions; or NULL */
    const char *trace_path;   /* write a trace of routing and reading there; or NULL */
    const char *profile_path; /* expert usage of earlier runs: read, and kept; or NULL */
    /* Called while a cold file is read; nonzero stops with -ECANCELED. May be NULL. */
    int (*progress)(void *arg, uint64_t done_bytes, uint64_t total_bytes);
    void *progress_arg;
    /* A logical CPU for each of the n_threads workers, in order, or -1 for any; one that may
     * not be used is an error. NULL: one per core, filled cache by cache. Borrowed during the
     * call. */
    const int32_t *cpus;
    const char *threads_why; /* why these, for sluice_model_info; NULL: in words of ours */
    enum sluice_numa numa;
};

enum {
    SLUICE_MODEL_NO_SIGBUS = 1, /* no SIGBUS handler (see doc/library.md) */
    SLUICE_MODEL_NO_WARM = 2,   /* do not read a cold file ahead */
    SLUICE_MODEL_TEXT = 4,      /* vocabulary and template alone: no memory, no sessions */
};

struct sluice_model_info {
    const char *path;         /* borrowed from the model, as all pointers here */
    const char *architecture; /* "lfm2", "lfm2moe" */
    const char *name;         /* general.name or "" */
    uint32_t n_vocab;
    uint32_t n_layers, n_moe_layers, n_attn_layers;
    uint32_t n_experts, n_experts_used; /* 0 for dense models */
    uint32_t n_ctx_train;               /* the file's context length */
    int32_t bos, eos;                   /* token ids, -1 if none */
    uint64_t file_bytes;                /* of all parts */
    uint64_t weight_bytes;              /* of all tensors */
    uint64_t token_bytes;               /* weights read to decode one token */
    uint32_t n_threads;
    const int32_t *thread_cpus; /* [n_threads] the logical CPU of each, -1: not bound */
    const char *threads_why;    /* "one on each core" */
    uint32_t n_spread_nodes;    /* NUMA nodes that memory is spread over; 0: it is not */
    uint32_t n_node_copies; /* of the weights that every token needs, one for each of these
                               nodes; 0: one for all */
    uint64_t copy_bytes;    /* what they take beside the weights themselves */
    const char *node_copies_why; /* why one for all; "" if there are more, or one node */
    const char *cpu;           /* "c", "avx2", "avx512" */
    bool is_streaming;
    uint64_t ram_bytes;    /* the plan's bound; 0: none (resident, nothing asked for) */
    uint64_t pinned_bytes; /* streaming: weights held in memory for good */
    uint64_t locked_bytes; /* of these, locked */
    const char *io;        /* streaming: "io_uring, direct, registered" */
    const char *notes;     /* lines, each "what was fallen back to and what to do"; "" if none */
    const char *chat_template; /* "lfm2", "lfm2.5", "lfm2.5-list", "lfm2.5-thinking", "chatml" */
};

/*
 * Open a GGUF file. opts NULL: all defaults. On failure *ret_model is untouched.
 * -ENOENT, -EACCES, -EISDIR, -EBADMSG (malformed), -ENOTSUP (architecture, type),
 * -ENOMEM, -ECANCELED.
 */
SLUICE_API int sluice_model_open(struct sluice_model **ret_model, const char *path,
                                 const struct sluice_model_opts *opts,
                                 struct sluice_error *error);
SLUICE_API void sluice_model_close(struct sluice_model *model);

/* Write out what outlives the run, profile and trace; closing does it too, but cannot tell
 * of a failure. The system's error if the trace could not be written. */
SLUICE_API int sluice_model_finish(struct sluice_model *model, struct sluice_error *error);
/* For a time without work: give back the memory of a streaming model's expert cache, down
 * to its smallest. The next step takes it again and fills it with what was used most. */
SLUICE_API void sluice_model_rest(struct sluice_model *model);
SLUICE_API void sluice_model_get_info(const struct sluice_model *model,
                                      struct sluice_model_info *ret_info);

/* ---- text ---- */

enum {
    SLUICE_TOKENIZE_BOS = 1,     /* put the model's BOS first, if it wants one */
    SLUICE_TOKENIZE_SPECIAL = 2, /* "<|im_end|>" and the like become special tokens */
};

/*
 * Tokens of len bytes of text (any bytes; what is not UTF-8 is kept byte by byte).
 * At most cap ids are written; returns the number there are (call again with more
 * room if that exceeds cap), or -ENOMEM, -E2BIG (text over 64 MiB).
 */
SLUICE_API int64_t sluice_tokenize(const struct sluice_model *model, const char *text,
                                   size_t len, uint32_t flags, int32_t *ids, size_t cap);

/*
 * Bytes of one token (borrowed from the model, not terminated): special tokens give
 * "" unless special is true. Pieces may be parts of UTF-8 characters. id out of
 * range: -ERANGE. Returns the length.
 */
SLUICE_API int sluice_token_piece(const struct sluice_model *model, int32_t id,
                                  bool special, const char **ret_piece);

/* Whether generation ends with this token. */
SLUICE_API bool sluice_token_is_eog(const struct sluice_model *model, int32_t id);

/*
 * Render a conversation with the model's chat template. messages_json: an array of
 * {"role": .., "content": string or list of {"type":"text","text":..}, ...}; tools_json:
 * an array or NULL. The text, to be tokenised with SLUICE_TOKENIZE_SPECIAL and without
 * BOS, is heap memory that the caller frees with free(). add_generation_prompt: end
 * with the opening of the assistant's turn. -EBADMSG, -ENOTSUP (images), -ENOMEM.
 */
SLUICE_API int sluice_chat_render(const struct sluice_model *model,
                                  const char *messages_json, const char *tools_json,
                                  bool add_generation_prompt, char **ret_text,
                                  struct sluice_error *error);

/* ---- session and sequences ---- */

enum sluice_kv {
    SLUICE_KV_F16 = 0,
    SLUICE_KV_F32,
    SLUICE_KV_Q8_0,
};

struct sluice_session_opts {
    uint32_t n_ctx;     /* positions over all sequences; 0: the file's, at most 32768 */
    uint32_t n_seq_max; /* sequences alive at once, 1..256; 0: 4 */
    uint32_t n_chunk;   /* tokens per prefill step, 1..2048; 0: 512 */
    uint32_t n_logits;  /* rows of logits a step may produce, 1..n_chunk; 0: n_seq_max */
    uint32_t n_beside;  /* tokens per step beside a sluice_prefill, up to n_chunk; 0: none */
    uint32_t n_marks;   /* positions to go back to, of each sequence, up to 16; 0: none */
    enum sluice_kv kv;
};

struct sluice_session;

/* Allocates everything at once: -ENOMEM says what is needed and what there is. */
SLUICE_API int sluice_session_new(struct sluice_session **ret_session,
                                  struct sluice_model *model,
                                  const struct sluice_session_opts *opts,
                                  struct sluice_error *error);
SLUICE_API void sluice_session_free(struct sluice_session *session);

/* What the session was made with, defaults filled in. */
SLUICE_API void sluice_session_get_opts(const struct sluice_session *session,
                                        struct sluice_session_opts *ret_opts);

/* A sequence is a small number, 0..n_seq_max-1. Returns it, or -E2BIG. */
SLUICE_API int sluice_seq_new(struct sluice_session *session);
SLUICE_API int sluice_seq_free(struct sluice_session *session, int seq);

/* A new sequence that shares seq's past; what they share is stored once. Returns it,
 * or -E2BIG. */
SLUICE_API int sluice_seq_fork(struct sluice_session *session, int seq);

/* Number of tokens, and the tokens themselves (borrowed until the next call). */
SLUICE_API int64_t sluice_seq_tokens(const struct sluice_session *session, int seq,
                                     const int32_t **ret_tokens);

/*
 * Forget all tokens from position n_keep on. Up to 32 tokens back is free, and any marked
 * position; else up to 255 tokens before n_keep are computed again. -ERANGE; -ENOMEM (no free
 * block for those; nothing was changed); -EIO, -ECANCELED as sluice_decode.
 */
SLUICE_API int sluice_seq_rewind(struct sluice_session *session, int seq, int64_t n_keep);

/*
 * Write a sequence, tokens and all that was computed of them, to the file PATH, which appears
 * whole or not at all. ret_bytes, the file's size, may be NULL. -EINVAL, -EBUSY; -ENOSPC and
 * others, as the system said.
 */
SLUICE_API int sluice_seq_save(struct sluice_session *session, int seq, const char *path,
                               uint64_t *ret_bytes);
/*
 * A new sequence, as sluice_seq_save wrote it, in a session of the same model with the same
 * kv; what has to do with memory and speed may be other. Returns it. -ENOENT and others, as
 * the system said; -EBADMSG (no such file, or damaged), -ENOTSUP, -EINVAL (of another model or
 * kv), -ERANGE (too long for n_ctx), -ENOMEM (no free blocks), -E2BIG.
 */
SLUICE_API int sluice_seq_load(struct sluice_session *session, const char *path,
                               uint64_t *ret_bytes);

/*
 * Once position pos, beyond the tokens there are, has been passed, going back to it is free, here
 * and in forks. Of more than n_marks the oldest is forgotten. -ERANGE, -EBUSY; -EINVAL: the
 * session has no n_marks.
 */
SLUICE_API int sluice_seq_mark(struct sluice_session *session, int seq, int64_t pos);

struct sluice_batch {
    int seq;
    uint32_t n_tokens;
    const int32_t *tokens;
    uint32_t n_logits; /* rows of logits wanted, for the last so many of the tokens */
};

/*
 * Append tokens to sequences (each at most once per call) and compute them, in steps
 * of at most n_chunk tokens. Logits rows, in order of batch and token, are in
 * *ret_logits ([rows][n_vocab], owned by the session, valid until its next call);
 * ret_logits may be NULL when no rows are asked for.
 *
 * -ENOMEM: the context is full (nothing was appended; sluice_session_error has both
 * numbers); -ERANGE: a bad token id; -EINVAL; -EIO, -EBADMSG: the file could not be read,
 * or a pack is damaged; the sequences of the failed step stand where they were before it,
 * or up to 255 tokens earlier (sluice_seq_tokens), and the call may be made again. A file
 * that became shorter fails for good, and the model must be closed. -ECANCELED:
 * sluice_session_cancel was called (whole steps are kept: sluice_seq_tokens says how far
 * each sequence came).
 */
SLUICE_API int sluice_decode(struct sluice_session *session,
                             const struct sluice_batch *batch, uint32_t n_batch,
                             const float **ret_logits);

/*
 * A step of at most n_chunk tokens in pieces, so that others need not wait for a long
 * prompt. begin puts it together: batch and errors as sluice_decode, and -E2BIG: too many
 * tokens; -EBUSY: one is under way; -EINVAL: the session has no n_beside. advance computes
 * layers, at least one and then as many as will be done within max_ns, as far as the past
 * ones tell; it returns 1 while there are more, and 0 when the tokens are appended, with
 * logits as sluice_decode. Another result (-EIO, -EBADMSG, -ECANCELED) ends the prefill,
 * as does drop: its sequences stand where they were, or up to 255 tokens earlier. -EINVAL:
 * none is under way.
 *
 * Meanwhile sluice_decode and all else works for the other sequences, in steps of at most
 * n_beside tokens; for its own it is -EBUSY. Logits are the same, bit for bit, however the
 * step is cut.
 */
SLUICE_API int sluice_prefill_begin(struct sluice_session *session,
                                    const struct sluice_batch *batch, uint32_t n_batch);
SLUICE_API int sluice_prefill_advance(struct sluice_session *session, uint64_t max_ns,
                                      const float **ret_logits);
SLUICE_API void sluice_prefill_drop(struct sluice_session *session);

/* Text of the last error of this session. */
SLUICE_API const char *sluice_session_error(const struct sluice_session *session);

/* Ask a running (or else the next) sluice_decode to stop after its step;
 * async-signal-safe, any thread. */
SLUICE_API void sluice_session_cancel(struct sluice_session *session);

/* Called for every token and MoE layer of a step with the chosen experts, best first,
 * and their weights; n_used entries; margin to the first one left out. NULL: off. */
typedef void (*sluice_route_fn)(void *arg, int seq, int64_t pos, uint32_t layer,
                                const uint32_t *experts, const float *weights,
                                uint32_t n_used, float margin);
SLUICE_API void sluice_session_set_route_fn(struct sluice_session *session,
                                            sluice_route_fn fn, void *arg);

/* What the expert cache did since the model was opened. A request is one expert that a
 * step asks for: hit, covered by a guess (in time, or late), or missed. */
struct sluice_expert_counters {
    uint64_t requests, hits, covered, covered_late, misses;
    uint64_t guesses, guesses_used, guesses_expired;
    uint64_t demand_bytes, guess_bytes, fill_bytes; /* read, by who began the reading */
    uint64_t used_bytes, wasted_bytes;  /* of experts used, never used, after being read */
    uint64_t evictions, stall_ns, n_failed;
    uint64_t read_ns;                   /* with reads in flight */
    uint64_t slot_bytes, n_slots, n_ready, n_loading, n_regions, regions_given_back;
};

struct sluice_counters {
    uint64_t n_steps, n_tokens; /* since the session was made */
    uint64_t step_ns;           /* time inside steps */
    uint64_t weight_bytes;      /* weights multiplied */
    uint64_t kv_bytes;          /* memory reserved for sequences */
    uint64_t scratch_bytes;
    struct sluice_expert_counters experts; /* all zero when resident */
};
SLUICE_API void sluice_session_get_counters(const struct sluice_session *session,
                                            struct sluice_counters *ret_counters);

enum sluice_expert_state {
    SLUICE_EXPERT_DISK = 0,
    SLUICE_EXPERT_MEMORY,
    SLUICE_EXPERT_PINNED,  /* in memory, and the step under way uses it */
    SLUICE_EXPERT_READING, /* the step under way waits for it */
    SLUICE_EXPERT_AHEAD,   /* being read on a guess, or to fill free memory */
};

struct sluice_expert {
    uint8_t state; /* enum sluice_expert_state */
    uint8_t share; /* of the layer's recent tokens that chose it, 255: all; a choice counts
                      half after 64 tokens */
};

/*
 * Where each expert is, and how much it was used of late, for a picture: layer after layer
 * of those with experts (the last n_moe_layers), n_experts each. Writes at most cap; returns
 * how many there are, 0 for a dense model. Unlike the rest any thread may call it until the
 * model is closed, also while another computes, which it does not hold up; so entries may be
 * of slightly different moments.
 */
SLUICE_API size_t sluice_model_get_experts(const struct sluice_model *model,
                                           struct sluice_expert *ret_experts, size_t cap);

/* ---- sampling ---- */

struct sluice_logit_bias {
    int32_t token;
    float bias; /* added to the logit; -INFINITY forbids */
};

struct sluice_sampler_opts {
    float temperature; /* 0: greedy */
    uint32_t top_k;    /* 0: off */
    float top_p;       /* 1: off */
    float min_p;       /* 0: off */
    float repeat_penalty;   /* 1: off */
    float presence_penalty; /* 0: off */
    float frequency_penalty;
    uint32_t penalty_last_n; /* tokens looked back at; 0: off */
    uint64_t seed;
    const struct sluice_logit_bias *bias; /* copied */
    uint32_t n_bias;
};

/* The model's recommended settings (by architecture and name). */
SLUICE_API void sluice_sampler_opts_default(const struct sluice_model *model,
                                            struct sluice_sampler_opts *ret_opts);

struct sluice_sampler;
SLUICE_API int sluice_sampler_new(struct sluice_sampler **ret_sampler,
                                  const struct sluice_model *model,
                                  const struct sluice_sampler_opts *opts,
                                  struct sluice_error *error);
SLUICE_API void sluice_sampler_free(struct sluice_sampler *sampler);

/* Tell the sampler a token of the past (prompt or output), for the penalties. One outside
 * the vocabulary is ignored. */
SLUICE_API void sluice_sampler_accept(struct sluice_sampler *sampler, int32_t token);

/*
 * From the next accepted token on, the text must follow a grammar: len bytes of GBNF (the
 * notation of llama.cpp's grammars), whose rule root is the whole text. Call it when the
 * prompt was accepted. A token that ends the text can come exactly where the text may end;
 * other special tokens only where the grammar names them, as in <|tool_call_start|>.
 * gbnf NULL: no grammar any more.
 *
 * -EBADMSG with line and column, what was expected and found; -ENOTSUP, -E2BIG (too large, too
 * ambiguous), -ENOMEM. The sampler is then as it was.
 */
SLUICE_API int sluice_sampler_set_grammar(struct sluice_sampler *sampler, const char *gbnf,
                                          size_t len, struct sluice_error *error);

/*
 * A grammar, compiled: by any thread, for any number of samplers, as sluice_sampler_set_grammar
 * does it for one. Read-only. It borrows the model; a sampler that uses it may be of another
 * one that was opened from the same file. References are counted: new gives one, which unref
 * takes back (NULL is allowed); both may be called by any thread. bytes: about what it takes.
 */
struct sluice_grammar;
SLUICE_API int sluice_grammar_new(struct sluice_grammar **ret_grammar,
                                  const struct sluice_model *model, const char *gbnf, size_t len,
                                  struct sluice_error *error);
SLUICE_API struct sluice_grammar *sluice_grammar_ref(struct sluice_grammar *grammar);
SLUICE_API void sluice_grammar_unref(struct sluice_grammar *grammar);
SLUICE_API size_t sluice_grammar_bytes(const struct sluice_grammar *grammar);

/* As sluice_sampler_set_grammar, NULL too; the sampler takes a reference of its own. -EINVAL:
 * the grammar's model has another vocabulary; -ENOMEM. The sampler is then as it was. */
SLUICE_API int sluice_sampler_use_grammar(struct sluice_sampler *sampler,
                                          struct sluice_grammar *grammar);

/* Choose a token from n_vocab logits. Does not accept it. Only with a grammar: -E2BIG (it is
 * too ambiguous to go on), -ENOMEM, -EBADMSG (no token goes on, or what was accepted broke it). */
SLUICE_API int32_t sluice_sampler_sample(struct sluice_sampler *sampler, const float *logits);

#ifdef __cplusplus
}
#endif
#endif
