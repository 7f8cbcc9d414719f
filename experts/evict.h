/*
 * Which expert to give up: a number for each (layer, expert) that says how much it is
 * worth keeping, learned from what the routers chose. Pure: no clock, no memory of
 * slots, no I/O; the same observations give the same values, so a trace can be
 * replayed. Called by experts/cache.c and by tools/tracesim. One thread.
 */
#pragma once

#include <stdint.h>

enum sl_evict_policy {
    SL_EVICT_DEFAULT = 0, /* frequency, recency, scores and distance; see evict.c */
    SL_EVICT_LRU,         /* least recently used, over all layers */
    SL_EVICT_LFU,         /* least frequently used since the start */
};

/* Ranks are given in these steps of a standard deviation above or below the line
 * between chosen and not chosen. */
#define SL_EVICT_RANK_STEP (1.0f / 32)

struct sl_evict;

/* -ENOMEM. */
int sl_evict_new(struct sl_evict **ret_evict, enum sl_evict_policy policy, uint32_t n_layers,
                 uint32_t n_experts, uint32_t n_used);
void sl_evict_free(struct sl_evict *evict); /* NULL is allowed */

/*
 * What a router ranked by, score + bias (bias may be NULL), as a byte per expert: how far
 * above or below the line, in SL_EVICT_RANK_STEP of the spread of all. Any input will
 * do, not a number included.
 */
void sl_evict_rank(const float *scores, const float *bias, uint32_t n_experts,
                   const uint32_t *experts, uint32_t n_used, int8_t *ret_ranks);

/*
 * A token chose these n_used experts of a layer. ranks: [n_experts] as from
 * sl_evict_rank, NULL if unknown. Of a step with many tokens only the last ones are
 * shown, in order.
 */
void sl_evict_observe(struct sl_evict *evict, uint32_t layer, const uint32_t *experts,
                      uint32_t n_used, const int8_t *ranks);

/* The step has come to this layer, whose experts are about to be asked for. */
void sl_evict_reach(struct sl_evict *evict, uint32_t layer);

/*
 * What keeping this expert is worth: the larger the better; only comparable with other
 * values of the same policy, asked for at the same time. Above 0, at most 1.
 */
float sl_evict_value(const struct sl_evict *evict, uint32_t layer, uint32_t expert);

/* The same for an expert that the layer will choose, when it is next reached, with
 * probability p. Under LRU and LFU, which know nothing of p: more than any value. */
float sl_evict_guess_value(const struct sl_evict *evict, uint32_t layer, uint32_t expert,
                           float p);

/* Probability that the next token to reach the layer chooses it, [n_experts], under any
 * policy. Valid until freed, changed by sl_evict_observe. */
const float *sl_evict_chances(const struct sl_evict *evict, uint32_t layer);

/* What earlier runs saw, as shares of tokens (0..1): the values to begin with. */
void sl_evict_seed(struct sl_evict *evict, uint32_t layer, uint32_t expert, float share);
/* What was given to sl_evict_seed, -1 if nothing was. */
float sl_evict_seeded(const struct sl_evict *evict, uint32_t layer, uint32_t expert);

/* Share of the observed tokens that chose it: for the profile. */
float sl_evict_share(const struct sl_evict *evict, uint32_t layer, uint32_t expert);

const char *sl_evict_policy_name(enum sl_evict_policy policy); /* "default", "lru", "lfu" */
