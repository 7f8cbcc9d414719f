/*
 * Guesses: the best of score + bias, and how often a guess of that rank, made that many
 * layers ahead, came true. The counts are kept per distance and rank over all layers,
 * decayed over about MEMORY tokens' worth of layers, and begin as a weak prior, so that
 * the first guesses are already sensible.
 *
 * What was guessed for a layer is kept per distance until the layer has chosen, so that
 * guesses from several distances are all learned from.
 */
#include "experts/predict.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY 8192.0f /* decayed number of learned layers: 200 tokens of 40 layers */
#define PRIOR 8.0f     /* layers that the prior stands for */
#define PRIOR_TOP 0.6f /* of the first n_used ranks */

/* The guesses that wait for a layer to choose. */
struct waiting {
    uint32_t n; /* 0: none */
    uint32_t experts[SL_PREDICT_RANKS_MAX];
};

struct rate {
    float n_true, n;
};

struct sl_predict {
    uint32_t n_layers, n_experts, n_used, n_ranks;
    struct waiting *waiting; /* [n_layers][AHEAD_MAX] */
    struct rate rate[SL_PREDICT_AHEAD_MAX][SL_PREDICT_RANKS_MAX];
    struct rate recall[SL_PREDICT_AHEAD_MAX];
};

int sl_predict_new(struct sl_predict **ret_predict, uint32_t n_layers, uint32_t n_experts,
                   uint32_t n_used)
{
    struct sl_predict *predict = calloc(1, sizeof(*predict));
    size_t n = (size_t)n_layers * SL_PREDICT_AHEAD_MAX;

    if (!predict)
        return -ENOMEM;
    predict->waiting = calloc(n ? n : 1, sizeof(*predict->waiting));
    if (!predict->waiting) {
        free(predict);
        return -ENOMEM;
    }
    predict->n_layers = n_layers;
    predict->n_experts = n_experts;
    predict->n_used = n_used;
    predict->n_ranks = n_experts < SL_PREDICT_RANKS_MAX ? n_experts : SL_PREDICT_RANKS_MAX;
    for (uint32_t a = 0; a < SL_PREDICT_AHEAD_MAX; a++)
        for (uint32_t k = 0; k < SL_PREDICT_RANKS_MAX; k++) {
            float base = (float)n_used / (float)n_experts;

            predict->rate[a][k].n = PRIOR;
            predict->rate[a][k].n_true = PRIOR * (k < n_used ? PRIOR_TOP : base);
        }
    *ret_predict = predict;
    return 0;
}

void sl_predict_free(struct sl_predict *predict)
{
    if (!predict)
        return;
    free(predict->waiting);
    free(predict);
}

static struct waiting *waiting_of(const struct sl_predict *predict, uint32_t layer,
                                  uint32_t ahead)
{
    return &predict->waiting[(size_t)layer * SL_PREDICT_AHEAD_MAX + ahead - 1];
}

uint32_t sl_predict_guess(struct sl_predict *predict, uint32_t layer, uint32_t ahead,
                          const float *scores, const float *bias, struct sl_guess *ret_guesses,
                          uint32_t cap)
{
    float best[SL_PREDICT_RANKS_MAX];
    struct waiting *w = waiting_of(predict, layer, ahead);
    uint32_t n = 0;

    assert(layer < predict->n_layers && ahead >= 1 && ahead <= SL_PREDICT_AHEAD_MAX);
    for (uint32_t e = 0; e < predict->n_experts; e++) {
        float rank = scores[e] + (bias ? bias[e] : 0);
        uint32_t at = n;

        /* Not a number sorts behind everything; ties go to the lowest id. */
        if (rank != rank)
            continue;
        while (at > 0 && rank > best[at - 1])
            at--;
        if (at == predict->n_ranks)
            continue;
        if (n < predict->n_ranks)
            n++;
        memmove(best + at + 1, best + at, sizeof(*best) * (n - 1 - at));
        memmove(w->experts + at + 1, w->experts + at, sizeof(*w->experts) * (n - 1 - at));
        best[at] = rank;
        w->experts[at] = e;
    }
    w->n = n;
    if (n > cap)
        n = cap;
    for (uint32_t k = 0; k < n; k++) {
        const struct rate *rate = &predict->rate[ahead - 1][k];

        ret_guesses[k] = (struct sl_guess){
            .layer = layer, .expert = w->experts[k], .p = rate->n_true / rate->n};
    }
    return n;
}

static void count(struct rate *rate, float n_true, float n, float memory)
{
    float keep = rate->n < memory ? 1 : 1 - n / memory;

    rate->n_true = rate->n_true * keep + n_true;
    rate->n = rate->n * keep + n;
}

void sl_predict_learn(struct sl_predict *predict, uint32_t layer, const uint32_t *experts,
                      uint32_t n_used)
{
    assert(layer < predict->n_layers);
    for (uint32_t a = 0; a < SL_PREDICT_AHEAD_MAX; a++) {
        struct waiting *w = waiting_of(predict, layer, a + 1);
        uint32_t n_found = 0;

        if (w->n == 0)
            continue;
        for (uint32_t k = 0; k < w->n; k++) {
            uint32_t i = 0;

            while (i < n_used && experts[i] != w->experts[k])
                i++;
            count(&predict->rate[a][k], i < n_used, 1, MEMORY);
            if (k < predict->n_used)
                n_found += i < n_used;
        }
        count(&predict->recall[a], (float)n_found, (float)n_used,
              256.0f * (float)n_used * (float)predict->n_layers);
        w->n = 0;
    }
}

float sl_predict_recall(const struct sl_predict *predict, uint32_t ahead)
{
    const struct rate *rate = &predict->recall[ahead - 1];

    assert(ahead >= 1 && ahead <= SL_PREDICT_AHEAD_MAX);
    return rate->n > 0 ? rate->n_true / rate->n : 0;
}
