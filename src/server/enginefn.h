/*
 * What the scheduler needs of an engine, as a table of functions: those of sluice.h when it
 * serves a model, others in tests. Each function is as its namesake in sluice.h states; all
 * but experts are called by one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sluice.h"

struct sl_enginefn {
    void *arg; /* handed to each function */
    struct sluice_session_opts opts; /* of the session, defaults filled in */
    uint32_t n_vocab;
    bool is_streaming;
    uint32_t n_layers;
    uint32_t n_moe_layers, first_moe_layer; /* with experts; 0 if experts is NULL */
    uint32_t n_experts, n_experts_used;

    int (*seq_new)(void *arg);
    int (*seq_free)(void *arg, int seq);
    int (*seq_fork)(void *arg, int seq);
    int64_t (*seq_tokens)(void *arg, int seq, const int32_t **ret_tokens);
    int (*seq_rewind)(void *arg, int seq, int64_t n_keep);
    int (*seq_mark)(void *arg, int seq, int64_t pos);
    int (*seq_save)(void *arg, int seq, const char *path, uint64_t *ret_bytes);
    int (*seq_load)(void *arg, const char *path, uint64_t *ret_bytes);
    int (*decode)(void *arg, const struct sluice_batch *batch, uint32_t n_batch,
                  const float **ret_logits);
    /* Only if opts.n_beside is not 0. */
    int (*prefill_begin)(void *arg, const struct sluice_batch *batch, uint32_t n_batch);
    int (*prefill_advance)(void *arg, uint64_t max_ns, const float **ret_logits);
    void (*prefill_drop)(void *arg);
    const char *(*error)(void *arg);
    void (*counters)(void *arg, struct sluice_counters *ret_counters);

    int (*piece)(void *arg, int32_t id, bool special, const char **ret_piece);
    bool (*is_eog)(void *arg, int32_t id);

    int (*sampler_new)(void *arg, void **ret_sampler, const struct sluice_sampler_opts *opts,
                       struct sluice_error *error);
    void (*sampler_free)(void *arg, void *sampler); /* NULL is allowed */
    void (*sampler_accept)(void *arg, void *sampler, int32_t token);
    int (*sampler_set_grammar)(void *arg, void *sampler, const char *gbnf, size_t len,
                               struct sluice_error *error);
    int (*sampler_use_grammar)(void *arg, void *sampler, struct sluice_grammar *grammar);
    int32_t (*sampler_sample)(void *arg, void *sampler, const float *logits);

    /*
     * Give back memory that only speed needs, and that the next step takes again; called when
     * nothing is under way. NULL: there is none, as while the experts are resident.
     */
    void (*give_back)(void *arg);

    /* As sluice_model_get_experts, by any thread. NULL: there are none. */
    size_t (*experts)(void *arg, struct sluice_expert *ret_experts, size_t cap);
};

/* What the functions of sluice.h work on; arg of the table. */
struct sl_enginefn_sluice {
    struct sluice_model *model;
    struct sluice_session *session;
};

/* The table for both, which are borrowed for as long as it is used, as is sluice. */
void sl_enginefn_init(struct sl_enginefn *fn, struct sl_enginefn_sluice *sluice);
