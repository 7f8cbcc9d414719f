/*
 * Measures what a model's routing and blocks are like, on random ids: how often
 * experts are chosen again, how well the next layer's router can be guessed, and how
 * much each block matters. Called by mkmodel; one thread.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

#define MK_CHECK_TOKENS 192
#define MK_CHECK_TOKENS_MAX 4096

struct mk_check_opts {
    uint32_t n_tokens;  /* 2..MK_CHECK_TOKENS_MAX, for reuse and recall */
    uint32_t n_blocks;  /* blocks to remove, spread evenly; 0: none, UINT32_MAX: all */
    uint32_t n_threads;
    uint64_t seed; /* of the ids */
    /* Called after each layer, or NULL; nonzero stops. */
    int (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
};

struct mk_check_result {
    uint32_t n_moe_layers;
    uint32_t n_experts, n_used;
    double reuse[4];       /* of the experts 1, 2, 8 and 32 tokens ago; NAN: too few tokens */
    double recall;         /* of the next layer's experts, NAN with one MoE layer */
    double popularity[2];  /* smallest and largest share of an expert, times n_experts */
    double spread;         /* deviation of the shares beyond chance, relative */
    uint32_t n_blocks;     /* removed */
    double removed_min;    /* smallest logit error */
    double removed_median;
    uint32_t min_layer;    /* which block that was */
    int min_is_ffn;        /* else the operator */
    double noise;          /* growth of a small error's mean square on the way */
    double logit_std;
    double stream_growth;  /* rms of the stream at the end, over that of the embedding */
};

/* Errors are those of opening and reading a model, -ENOMEM, -ECANCELED. */
int mk_check_file(const char *path, const struct mk_check_opts *opts,
                  struct mk_check_result *ret_result, struct sl_diag *diag);
