/*
 * How many tokens to draft: the number that is expected to give the most tokens for the time,
 * or none, from what this run has shown. Two things are learned on the way: how often guesses
 * come true, by how long the text before them agreed, and what a step of n tokens takes in
 * units of a step of one. In a mixture of experts the latter grows with n, since each token
 * reads experts of its own.
 *
 * No clock and no model in here: times and counts are handed in. Called by speculate.c. One
 * thread at a time per object.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SL_DRAFTLEN_MAX 31u   /* tokens of a draft; a step computes one more */
#define SL_DRAFTLEN_SIZES 8u  /* different numbers of tokens that a step may have, above 1 */
#define SL_DRAFTLEN_CLASSES 10u
#define SL_DRAFTLEN_SAMPLES 9u

/* The last few measurements of one thing. */
struct sl_draftlen_samples {
    double value[SL_DRAFTLEN_SAMPLES];
    uint32_t n, at;
    uint32_t step; /* when the last one was taken */
};

enum sl_draftlen_reason { /* why there is no draft */
    SL_DRAFTLEN_PAYS = 0, /* there is one */
    SL_DRAFTLEN_COST,     /* it would take longer than it saves, or that is not known yet */
    SL_DRAFTLEN_READING,  /* too many experts would have to be read */
};

/* A value: copying it copies what was learned. The fields are for draftlen.c. */
struct sl_draftlen {
    struct {
        double n, n_true; /* decayed */
    } guesses[SL_DRAFTLEN_CLASSES];
    struct sl_draftlen_samples single;                    /* ns of a step of one token */
    struct sl_draftlen_samples cost[SL_DRAFTLEN_SIZES];   /* in steps of one token */
    double n_requests, n_hits;                            /* of experts; decayed */
    double balance; /* what may be lost yet, in steps of one token */
    bool was_outlier; /* the last draft took far longer than usual */
    double took;      /* the step measured last, in steps of one; 0: of one, or not known */
    uint32_t n_steps;
};

/* Nothing is known yet. */
void sl_draftlen_init(struct sl_draftlen *d);

/* A guess, made where match tokens before it agreed, was held against the token drawn. */
void sl_draftlen_learn(struct sl_draftlen *d, uint32_t match, bool is_true);

/* What a step of n_tok tokens took, and what it asked of the expert cache (0 if there is
 * none). */
struct sl_draftlen_step {
    uint32_t n_tok;
    uint64_t ns, n_requests, n_hits;
};
void sl_draftlen_measure(struct sl_draftlen *d, const struct sl_draftlen_step *step);

/*
 * What came of the step measured last: n_kept of its tokens are the text's. Returns the time
 * that it saved against plain steps, in steps of one token; negative if it lost. Once for a
 * step.
 */
double sl_draftlen_settle(struct sl_draftlen *d, uint32_t n_kept);

/* Length of the next draft, 0 to n_max; where it is 0, ret_reason says why. match as above. */
uint32_t sl_draftlen_choose(const struct sl_draftlen *d, uint32_t match, uint32_t n_max,
                            enum sl_draftlen_reason *ret_reason);

/* What a step of n_tok tokens takes in steps of one, as far as it is known; 0 if it was never
 * measured. */
double sl_draftlen_cost(const struct sl_draftlen *d, uint32_t n_tok);

/* Share of experts asked for that were in memory, lately; 1 if none were asked for. */
double sl_draftlen_hit_share(const struct sl_draftlen *d);
