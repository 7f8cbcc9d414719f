/*
 * The queue of guesses: which expert to read ahead next. A guess waits here until it is
 * taken, its layer has been asked for, or it is replaced. Pure: no I/O, no clock.
 * Called by experts/cache.c. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "experts/predict.h"

/* Guesses kept per layer: a put for a layer keeps the likeliest. */
#define SL_PREFETCH_PER_LAYER 64u

struct sl_prefetch;

/* -ENOMEM. Allocates everything: no other call does. */
int sl_prefetch_new(struct sl_prefetch **ret_prefetch, uint32_t n_layers, uint32_t n_experts);
void sl_prefetch_free(struct sl_prefetch *prefetch); /* NULL is allowed */

/* Replace the guesses of every layer that is named; other layers keep theirs. Entries with
 * a layer or expert out of range, or p not above 0, are left out; of an expert named
 * twice the larger p counts. p above 1 counts as 1. */
void sl_prefetch_put(struct sl_prefetch *prefetch, const struct sl_guess *guesses, uint32_t n);

/* The layer has been asked for: its guesses are void. */
void sl_prefetch_expire(struct sl_prefetch *prefetch, uint32_t layer);
void sl_prefetch_clear(struct sl_prefetch *prefetch); /* all layers */

/* Somebody reads or holds this expert: not wanted any more. */
void sl_prefetch_drop(struct sl_prefetch *prefetch, uint32_t layer, uint32_t expert);

/*
 * The guess to read next, p at least min_p; it stays until dropped. now_layer: the layer
 * that is being computed; layers are reached in order, round after round, so nearer means
 * later in this round or early in the next. Likelier first, p taken in steps of 1/16; of
 * equal ones the nearer layer, then the likelier, then the lower expert.
 */
bool sl_prefetch_best(const struct sl_prefetch *prefetch, uint32_t now_layer, float min_p,
                      struct sl_guess *ret_guess);

uint32_t sl_prefetch_count(const struct sl_prefetch *prefetch);
