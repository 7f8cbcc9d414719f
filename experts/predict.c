/*
 * Guesses: for each distance a logistic regression, learned while it is used, on two
 * things: how far the router's score on the earlier state lies above the line between
 * chosen and not chosen, in spreads of all scores, and the odds that the past gives the
 * expert (experts/evict.h). The regression turns them into a probability and by that
 * into an order.
 *
 * Recall of the first n_used guesses (%), on the trained demo model and on the made 24 B
 * model with local routing, from the state before the layer's experts are added:
 *
 *     layers ahead                              1     2     3
 *     demo   score + bias                      77.0  69.2  62.5
 *            in the source's norm              76.7  68.9  62.2
 *            after the layer's experts         78.6  70.6  63.3
 *     demo, first 2,001 tokens
 *            score + bias                      78.0  70.7  64.6
 *            with the past                     78.9  72.6  69.1
 *     local  score + bias                      80.7  73.0  67.0
 *            in the source's norm              77.0  70.8  65.1
 *            1, 2, 3 of 4 experts added        81.3, 82.3, 83.3 one layer ahead
 *            after the layer's experts         84.3  75.1  68.4
 *     from the token's embedding: demo 25 to 34, local 33 to 40 in the first four layers;
 *     what the token before chose: demo 36, local 24
 *
 * So guesses are made when the layer's own router has spoken, in the target's norm: the
 * three or four points that its experts would add come when most of the time to read is
 * over. Adding the outputs that are there, scaled up for the missing ones, was worse
 * than adding them as they are. The log loss of the regression is 2 to 12 % below that
 * of a table of rates by rank.
 *
 * What was guessed for a layer is kept per distance until the layer has chosen.
 */
#include "experts/predict.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experts/logistic.h"

#define N_FEATURES 3u /* 1, score, odds of the past */
/* Learned layers between steps, and those after which one has decayed to 1/e. */
#define LAYERS_PER_STEP 4u
#define MEMORY_LAYERS 8192.0f
#define RECALL_TOKENS 256.0f
#define P_STEPS 1024.0f
/* Scores beyond so many spreads from the line say nothing more. */
#define SCORE_MAX 4.0f

/* What fitted both models about: nearer layers deserve more trust. */
static const float first_weights[SL_PREDICT_AHEAD_MAX][N_FEATURES] = {
    { 0.3f, 6, 0.3f }, { 0.3f, 4.5f, 0.4f }, { 0.2f, 3.5f, 0.4f }, { 0.2f, 3, 0.5f },
};

/* The guesses that wait for a layer to choose. */
struct waiting {
    uint32_t n; /* 0: none */
    uint32_t experts[SL_PREDICT_RANKS_MAX];
    float p[SL_PREDICT_RANKS_MAX];
    float score[SL_PREDICT_RANKS_MAX], odds[SL_PREDICT_RANKS_MAX];
};

struct recall {
    float n_true, n;
};

struct sl_predict {
    uint32_t n_layers, n_experts, n_used, n_ranks;
    struct waiting *waiting; /* [n_layers][AHEAD_MAX] */
    float *score, *odds;     /* [n_experts] */
    struct sl_logistic lr[SL_PREDICT_AHEAD_MAX];
    struct recall recall[SL_PREDICT_AHEAD_MAX];
};

int sl_predict_new(struct sl_predict **ret_predict, uint32_t n_layers, uint32_t n_experts,
                   uint32_t n_used)
{
    struct sl_predict *predict = calloc(1, sizeof(*predict));
    size_t n = (size_t)n_layers * SL_PREDICT_AHEAD_MAX;

    if (!predict)
        return -ENOMEM;
    predict->waiting = calloc(n ? n : 1, sizeof(*predict->waiting));
    predict->score = calloc(n_experts ? n_experts : 1, sizeof(*predict->score));
    predict->odds = calloc(n_experts ? n_experts : 1, sizeof(*predict->odds));
    if (!predict->waiting || !predict->score || !predict->odds) {
        sl_predict_free(predict);
        return -ENOMEM;
    }
    predict->n_layers = n_layers;
    predict->n_experts = n_experts;
    predict->n_used = n_used;
    predict->n_ranks = n_experts < SL_PREDICT_RANKS_MAX ? n_experts : SL_PREDICT_RANKS_MAX;
    for (uint32_t a = 0; a < SL_PREDICT_AHEAD_MAX; a++)
        sl_logistic_init(&predict->lr[a], N_FEATURES, first_weights[a],
                         LAYERS_PER_STEP * SL_PREDICT_RANKS_MAX,
                         MEMORY_LAYERS * SL_PREDICT_RANKS_MAX);
    *ret_predict = predict;
    return 0;
}

void sl_predict_free(struct sl_predict *predict)
{
    if (!predict)
        return;
    free(predict->waiting);
    free(predict->score);
    free(predict->odds);
    free(predict);
}

static struct waiting *waiting_of(const struct sl_predict *predict, uint32_t layer,
                                  uint32_t ahead)
{
    assert(layer < predict->n_layers && ahead >= 1 && ahead <= SL_PREDICT_AHEAD_MAX);
    return &predict->waiting[(size_t)layer * SL_PREDICT_AHEAD_MAX + ahead - 1];
}

static float rank_value(const float *scores, const float *bias, uint32_t e)
{
    float rank = scores[e] + (bias ? bias[e] : 0);

    return rank > 1e4f ? 1e4f : rank >= -1e4f ? rank : -1e4f; /* not a number included */
}

/* The line between the n best and the rest: half way between the last and the next. */
static float line_below(const float *values, uint32_t n_values, uint32_t n)
{
    float best[SL_PREDICT_RANKS_MAX + 1];
    uint32_t n_best = 0, most = n < SL_PREDICT_RANKS_MAX ? n + 1 : SL_PREDICT_RANKS_MAX + 1;

    for (uint32_t e = 0; e < n_values; e++) {
        uint32_t at = n_best;

        while (at > 0 && values[e] > best[at - 1])
            at--;
        if (at == most)
            continue;
        n_best += n_best < most;
        memmove(best + at + 1, best + at, sizeof(*best) * (n_best - 1 - at));
        best[at] = values[e];
    }
    return n_best < 2 ? 0 : (best[n_best - 1] + best[n_best - 2]) / 2;
}

/* Scores as spreads above the line, in predict->score. */
static void measure(struct sl_predict *predict, const float *scores, const float *bias)
{
    float *score = predict->score;
    float mean = 0, var = 0, line, scale;
    uint32_t n = predict->n_experts;

    for (uint32_t e = 0; e < n; e++) {
        score[e] = rank_value(scores, bias, e);
        mean += score[e];
    }
    mean /= (float)n;
    for (uint32_t e = 0; e < n; e++)
        var += (score[e] - mean) * (score[e] - mean);
    var /= (float)n;
    line = line_below(score, n, predict->n_used);
    scale = var > 1e-12f ? 1 / sqrtf(var) : 0;
    for (uint32_t e = 0; e < n; e++) {
        float z = (score[e] - line) * scale;

        score[e] = z > SCORE_MAX ? SCORE_MAX : z < -SCORE_MAX ? -SCORE_MAX : z;
    }
}

uint32_t sl_predict_guess(struct sl_predict *predict, uint32_t layer, uint32_t ahead,
                          const float *scores, const float *bias, const float *chances,
                          struct sl_guess *ret_guesses, uint32_t cap)
{
    struct waiting *w = waiting_of(predict, layer, ahead);
    const float *weights = predict->lr[ahead - 1].w;
    float share = (float)predict->n_used / (float)predict->n_experts;
    uint32_t n = 0;

    measure(predict, scores, bias);
    for (uint32_t e = 0; e < predict->n_experts; e++) {
        float odds = sl_logistic_odds(chances ? chances[e] : share);
        float z = weights[0] + weights[1] * predict->score[e] + weights[2] * odds;
        uint32_t at = n;

        predict->odds[e] = odds;
        while (at > 0 && z > w->p[at - 1]) /* ties go to the lowest id */
            at--;
        if (at == predict->n_ranks)
            continue;
        n += n < predict->n_ranks;
        memmove(w->p + at + 1, w->p + at, sizeof(*w->p) * (n - 1 - at));
        memmove(w->experts + at + 1, w->experts + at, sizeof(*w->experts) * (n - 1 - at));
        w->p[at] = z;
        w->experts[at] = e;
    }
    w->n = n;
    for (uint32_t k = 0; k < n; k++) {
        w->p[k] = sl_logistic_p(w->p[k]);
        w->score[k] = predict->score[w->experts[k]];
        w->odds[k] = predict->odds[w->experts[k]];
    }
    n = n < cap ? n : cap;
    for (uint32_t k = 0; k < n; k++)
        ret_guesses[k] = (struct sl_guess){
            .layer = layer,
            .expert = w->experts[k],
            .p = (float)(uint32_t)(w->p[k] * P_STEPS + 0.5f) / P_STEPS,
        };
    return n;
}

/* Learn from the guesses that one distance made. Returns how many of the first n_used
 * were right. */
static uint32_t learn(struct sl_predict *predict, struct sl_logistic *lr, const struct waiting *w,
                      const uint32_t *experts, uint32_t n_used)
{
    uint32_t n_found = 0;

    for (uint32_t k = 0; k < w->n; k++) {
        float x[SL_LOGISTIC_MAX] = { 1, w->score[k], w->odds[k] };
        uint32_t i = 0;

        while (i < n_used && experts[i] != w->experts[k])
            i++;
        sl_logistic_learn(lr, x, w->p[k], i < n_used);
        n_found += k < predict->n_used && i < n_used;
    }
    sl_logistic_step(lr);
    return n_found;
}

void sl_predict_learn(struct sl_predict *predict, uint32_t layer, const uint32_t *experts,
                      uint32_t n_used)
{
    float memory = RECALL_TOKENS * (float)predict->n_used * (float)predict->n_layers;

    for (uint32_t a = 0; a < SL_PREDICT_AHEAD_MAX; a++) {
        struct waiting *w = waiting_of(predict, layer, a + 1);
        struct recall *recall = &predict->recall[a];
        float keep = 1 - (float)n_used / memory;

        if (w->n == 0)
            continue;
        recall->n_true = recall->n_true * keep +
                         (float)learn(predict, &predict->lr[a], w, experts, n_used);
        recall->n = recall->n * keep + (float)n_used;
        w->n = 0;
    }
}

float sl_predict_recall(const struct sl_predict *predict, uint32_t ahead)
{
    const struct recall *recall = &predict->recall[ahead - 1];

    assert(ahead >= 1 && ahead <= SL_PREDICT_AHEAD_MAX);
    return recall->n > 0 ? recall->n_true / recall->n : 0;
}
