/*
 * From logits to a token: penalties, logit bias, top-k, min-p, top-p, temperature,
 * and a seeded draw. Order and formulas are stated in sampler.c. Deterministic: the
 * same options, history and logits give the same token on every machine. One thread
 * at a time per sampler; nothing is allocated after sl_sampler_new.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct sl_logit_bias {
    int32_t token;
    float bias;
};

struct sl_sampler_opts {
    uint32_t n_vocab;
    float temperature;       /* >= 0; 0: greedy */
    uint32_t top_k;          /* 0: off */
    float top_p;             /* 0..1; 1: off */
    float min_p;             /* 0..1; 0: off */
    float repeat_penalty;    /* > 0; 1: off */
    float presence_penalty;  /* 0: off */
    float frequency_penalty; /* 0: off */
    uint32_t penalty_last_n; /* at most 65536 */
    uint64_t seed;
    const struct sl_logit_bias *bias; /* copied */
    uint32_t n_bias;
};

struct sl_sampler;

/* -ERANGE names the option and its range; -ENOMEM. */
int sl_sampler_new(struct sl_sampler **ret_sampler, const struct sl_sampler_opts *opts,
                   struct sl_diag *diag);
void sl_sampler_free(struct sl_sampler *sampler);
/* A token outside the vocabulary is ignored. */
void sl_sampler_accept(struct sl_sampler *sampler, int32_t token);
int32_t sl_sampler_sample(struct sl_sampler *sampler, const float *logits);
/*
 * Choose only among tokens whose bit (id % 64 of word id / 64) is set, as
 * sl_tokenmask_fill gives them; at least one must be. Borrowed until set anew; NULL: all.
 */
void sl_sampler_set_allowed(struct sl_sampler *sampler, const uint64_t *allowed);
