/*
 * bench/phases: what its parts share. One thread.
 */
#pragma once

#include <sys/resource.h>

#include "sluice.h"

#define N_TOKENS_MAX 65536u
#define N_BATCH_MAX 64u
#define N_LAYERS_MAX 1024u
#define N_EXPERTS_MAX 1024u

struct args {
    const char *model;
    struct sluice_model_opts opts;
    struct sluice_session_opts session;
    uint64_t seed;
};

struct phases {
    struct sluice_model *model;
    struct sluice_session *session;
    struct sluice_model_info info;
    int seq;
    uint64_t random, warm_random; /* states of the ids' generators */
    int32_t ids[N_TOKENS_MAX];
    uint64_t token_ns[N_TOKENS_MAX];
    /* which experts tokens of the current step chose, and how many of them there were in all
     * steps, each expert of a layer once in a step */
    uint64_t chosen[N_LAYERS_MAX][N_EXPERTS_MAX / 64];
    uint64_t n_chosen;
};

/* A moment of a run; two of them bound a phase. */
struct moment {
    struct sluice_counters counters;
    struct rusage usage;
};

/* What a phase did, beside the differences of counters. */
struct ph_result {
    const char *name;
    uint32_t n_tokens, n_calls;
    uint32_t n_batch;   /* sequences, 1 but for batches */
    uint64_t hash;      /* of all logits in order */
};

void ph_take(const struct phases *st, struct moment *ret_moment);
void ph_print_opened(const struct phases *st, const struct args *args, double seconds);
void ph_print_phase(const struct phases *st, const struct ph_result *result,
                    const struct moment *began);
