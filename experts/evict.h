/*
 * Which expert to give up: a number for each (layer, expert) that says how much it is
 * worth keeping, learned from what the routers chose. Pure: no clock, no memory of
 * slots, no I/O; the same observations give the same values, so a trace can be
 * replayed. Called by experts/cache.c and by tools/tracesim. One thread.
 */
#pragma once

#include <stdint.h>

enum sl_evict_policy {
    SL_EVICT_DEFAULT = 0, /* frequency and recency together; see evict.c */
    SL_EVICT_LRU,         /* least recently used, over all layers */
    SL_EVICT_LFU,         /* least frequently used since the start */
};

struct sl_evict;

/* -ENOMEM. */
int sl_evict_new(struct sl_evict **ret_evict, enum sl_evict_policy policy, uint32_t n_layers,
                 uint32_t n_experts, uint32_t n_used);
void sl_evict_free(struct sl_evict *evict); /* NULL is allowed */

/*
 * A token chose these n_used experts of a layer. ranks: what the router ranked by (score
 * + bias), [n_experts], NULL if unknown. Of a step with many tokens only the last ones
 * are shown, in order.
 */
void sl_evict_observe(struct sl_evict *evict, uint32_t layer, const uint32_t *experts,
                      uint32_t n_used, const float *ranks);

/*
 * What keeping this expert is worth: the larger the better. Under SL_EVICT_DEFAULT it is
 * an estimate, 0..1, of the probability that the next token to reach the layer chooses
 * it, and so comparable with a guess's probability.
 */
float sl_evict_value(const struct sl_evict *evict, uint32_t layer, uint32_t expert);

/* What earlier runs saw, as shares of tokens (0..1): the values to begin with. */
void sl_evict_seed(struct sl_evict *evict, uint32_t layer, uint32_t expert, float share);

/* Share of the observed tokens that chose it: for the profile. */
float sl_evict_share(const struct sl_evict *evict, uint32_t layer, uint32_t expert);

const char *sl_evict_policy_name(enum sl_evict_policy policy); /* "default", "lru", "lfu" */
