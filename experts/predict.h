/*
 * Guesses of the experts that layers ahead will choose. The model applies a later
 * layer's router to the present state; here the result is joined with what the past says
 * of each expert, ranked and turned into probabilities, which are learned from what came
 * true. Pure: no I/O, no clock; the same calls give the same guesses. Called by
 * src/model/moe.c. One thread.
 */
#pragma once

#include <stdint.h>

/* How many MoE layers ahead guesses are made at most. */
#define SL_PREDICT_AHEAD_MAX 4u
/* Guesses of a layer at most. */
#define SL_PREDICT_RANKS_MAX 16u

struct sl_guess {
    uint32_t layer, expert;
    float p; /* probability that the layer will choose it, 0..1, a multiple of 1/1024 */
};

struct sl_predict;

/* -ENOMEM. layers are counted as in the model, dense ones included. */
int sl_predict_new(struct sl_predict **ret_predict, uint32_t n_layers, uint32_t n_experts,
                   uint32_t n_used);
void sl_predict_free(struct sl_predict *predict); /* NULL is allowed */

/*
 * Guess what a layer will choose from its router's scores on an earlier state, and its
 * bias (NULL: none). ahead: 1..SL_PREDICT_AHEAD_MAX, how many layers lie between state
 * and target. chances: what the past says (sl_cache_chances), [n_experts], or NULL.
 * Writes the best guesses, likeliest first, at most cap; returns their number. Replaces
 * what was guessed for that layer from the same distance before.
 */
uint32_t sl_predict_guess(struct sl_predict *predict, uint32_t layer, uint32_t ahead,
                          const float *scores, const float *bias, const float *chances,
                          struct sl_guess *ret_guesses, uint32_t cap);

/* The layer has chosen: learn from what was guessed for it, from any distance. */
void sl_predict_learn(struct sl_predict *predict, uint32_t layer, const uint32_t *experts,
                      uint32_t n_used);

/* Share of the chosen experts that were among the first n_used guesses at this distance,
 * 0..1 (recall), decayed over about 256 tokens; 0 before the first. */
float sl_predict_recall(const struct sl_predict *predict, uint32_t ahead);
