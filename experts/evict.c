/*
 * Values of experts: the default policy, and LRU and LFU to compare with.
 *
 * The default first learns the probability p that the next token to reach a layer
 * chooses the expert: a logistic regression, learned on the spot and shared by all
 * layers, on
 *   - the share of tokens that chose it, decayed over 8 and 64 tokens and not at all,
 *     as odds: recency and frequency;
 *   - how the router ranked it, chosen or not: the last rank, and averages over 3, 10
 *     and 40 tokens and over all. Experts that were nearly chosen are likelier to be.
 *
 * Then time: whoever is evicted costs one read at its next use. What that is worth now
 * falls with the time until then, because by then the slot might have been given up
 * anyway. With a discount of A per token, an expert that its layer reaches in d of n
 * layers is worth
 *     V = A^(d/n) (p + (1 - p) A p + ...) = A^(d/n) p / (1 - (1 - p) A)
 * so an expert of a layer just passed yields to its equal of a layer that comes soon. A
 * cache below one token's working set therefore still hits.
 *
 * Measured as hit rates (%) by simulation, slots of one size, traces of random ids
 * through made 24 B models (uniform: experts drawn anew for each token; local: drawn
 * near those of earlier tokens) and of held-out text through the demo model:
 *
 *     share in memory      4%    6%   12%   25%   50%   80%
 *     local    LRU        0.0  23.6  37.9  63.5  81.5  92.7
 *              LFU        5.6   8.6  15.8  31.0  57.7  85.1
 *              ours      22.8  31.5  47.7  68.7  84.7  94.5
 *              Belady    40.2  51.0  67.1  82.0  92.2  98.0
 *     uniform  LRU        0.0   6.3   8.0  22.7  47.8  79.4
 *              LFU        3.9   6.1  11.9  25.0  50.1  80.1
 *              ours       3.9   6.2  12.0  25.2  50.3  80.2
 *              Belady    23.2  29.9  42.1  59.9  80.4  94.7
 *     demo     LRU        0.0   0.0   0.0  35.5  57.5  87.4
 *              LFU        6.0   6.0   8.8  30.7  59.5  87.1
 *              ours       8.3   8.3  12.2  38.1  67.3  91.1
 *              Belady    15.0  15.0  21.5  55.6  81.5  96.0
 *
 * Without the ranks: local 20.3 instead of 22.8 at 4 %, 63.2 instead of 68.7 at 25 %;
 * demo no difference. Without time: demo 36.4 instead of 38.1 at 25 %. A from 0.15 to
 * 0.7 changes nothing by more than 0.4 points on any of the three, nor does making it
 * follow the cache's turnover. One decayed share of fixed span loses 15 points on
 * local or 1.5 on demo, whatever the span; a mixture of decayed shares with learned
 * weights comes within 1 point of the regression.
 *
 * Invariants: shares and chances lie in 0..1; used_at is the clock of the last use, 0
 * for never.
 */
#include "experts/evict.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "experts/logistic.h"

#define DISCOUNT 0.3f /* A */
#define N_SHARES 3u
#define N_RANKS 5u
#define N_FEATURES (1 + N_SHARES + N_RANKS)
/* Tokens that a seed counts for. */
#define SEED_WEIGHT 64u
/* Tokens after which what was learned about the features has decayed to 1/e. */
#define MEMORY 256u
/* Observations between steps of the regression, and of these the part that is learned
 * from: all layers teach the same weights, so a quarter is plenty. */
#define OBSERVED_PER_STEP 16u
#define LEARN_ONE_OF 4u
#define RANK_MAX 127

/* Weights of the newest token at least: 1 - 2^(-1 / half-life). */
static const float share_step[N_SHARES] = { 0.082996f, 0.010772f, 0.000338f }; /* 8 64 2048 */
static const float rank_step[N_RANKS] = { 1, 0.206299f, 0.066967f, 0.017179f, 0.000338f };
static const float first_weights[N_FEATURES] = { 0, 0.2f, 0.5f, 0.3f, 0, 0, 0, 0, 0 };

struct layer_row {
    uint64_t n_tokens;
    uint32_t n_seeded; /* tokens that a seed counts for */
    /* each [n_experts] */
    float *share[N_SHARES];
    float *odds[N_SHARES]; /* log2, of shares */
    float *rank[N_RANKS];
    float *chance; /* p */
    float *base;   /* p / (1 - (1 - p) A) */
    float *seed;
    uint64_t *n_uses;
    uint64_t *used_at;
};

struct sl_evict {
    enum sl_evict_policy policy;
    uint32_t n_layers, n_experts, n_used;
    uint32_t layer;  /* reached last */
    uint64_t clock;  /* uses, all layers */
    uint64_t n_seen; /* observations */
    struct sl_logistic lr;
    float *discount; /* [n_layers + 1] A^(d / n_layers) */
    struct layer_row *layers;
    float *floats;   /* behind the layers' rows */
    uint64_t *counts;
};

#define FLOAT_ROWS (2 * N_SHARES + N_RANKS + 3)
#define COUNT_ROWS 2u

static void lay_out(struct sl_evict *evict)
{
    float *f = evict->floats;
    uint64_t *c = evict->counts;
    size_t n = evict->n_experts;

    for (uint32_t i = 0; i < evict->n_layers; i++) {
        struct layer_row *l = &evict->layers[i];

        for (uint32_t k = 0; k < N_SHARES; k++, f += 2 * n) {
            l->share[k] = f;
            l->odds[k] = f + n;
        }
        for (uint32_t k = 0; k < N_RANKS; k++, f += n)
            l->rank[k] = f;
        l->chance = f;
        l->base = f + n;
        l->seed = f + 2 * n;
        f += 3 * n;
        l->n_uses = c;
        l->used_at = c + n;
        c += COUNT_ROWS * n;
    }
}

static float base_of(float p)
{
    return p / (1 - (1 - p) * DISCOUNT);
}

/* sum[e] += weight * row[e] */
static void add_row(float *restrict sum, const float *restrict row, float weight, uint32_t n)
{
    for (uint32_t e = 0; e < n; e++)
        sum[e] += weight * row[e];
}

static void chances_of(float *restrict chance, float *restrict base, uint32_t n)
{
    for (uint32_t e = 0; e < n; e++) {
        chance[e] = sl_logistic_p(chance[e]);
        base[e] = base_of(chance[e]);
    }
}

/* Chances of a layer's experts from their features. */
static void update_chances(const struct sl_evict *evict, struct layer_row *l)
{
    const float *w = evict->lr.w;
    uint32_t n = evict->n_experts;

    for (uint32_t e = 0; e < n; e++)
        l->chance[e] = w[0];
    for (uint32_t k = 0; k < N_SHARES; k++)
        add_row(l->chance, l->odds[k], w[1 + k], n);
    for (uint32_t k = 0; k < N_RANKS; k++)
        add_row(l->chance, l->rank[k], w[1 + N_SHARES + k], n);
    chances_of(l->chance, l->base, n);
}

int sl_evict_new(struct sl_evict **ret_evict, enum sl_evict_policy policy, uint32_t n_layers,
                 uint32_t n_experts, uint32_t n_used)
{
    struct sl_evict *evict = calloc(1, sizeof(*evict));
    size_t n = (size_t)n_layers * n_experts;
    float share = n_experts ? (float)n_used / (float)n_experts : 0;

    if (!evict)
        return -ENOMEM;
    *evict = (struct sl_evict){ .policy = policy, .n_layers = n_layers, .n_experts = n_experts,
                                .n_used = n_used };
    evict->layers = calloc(n_layers ? n_layers : 1, sizeof(*evict->layers));
    evict->discount = calloc((size_t)n_layers + 1, sizeof(*evict->discount));
    evict->floats = calloc(n ? n * FLOAT_ROWS : 1, sizeof(*evict->floats));
    evict->counts = calloc(n ? n * COUNT_ROWS : 1, sizeof(*evict->counts));
    if (!evict->layers || !evict->discount || !evict->floats || !evict->counts) {
        sl_evict_free(evict);
        return -ENOMEM;
    }
    sl_logistic_init(&evict->lr, N_FEATURES, first_weights, OBSERVED_PER_STEP * n_experts,
                     (float)MEMORY / LEARN_ONE_OF * (float)n);
    for (uint32_t d = 0; d <= n_layers && n_layers; d++)
        evict->discount[d] =
            sl_logistic_exp2(sl_logistic_log2(DISCOUNT) * (float)d / (float)n_layers);
    lay_out(evict);
    for (uint32_t i = 0; i < n_layers; i++) {
        for (uint32_t k = 0; k < N_SHARES; k++)
            for (uint32_t e = 0; e < n_experts; e++) {
                evict->layers[i].share[k][e] = share;
                evict->layers[i].odds[k][e] = sl_logistic_odds(share);
            }
        for (uint32_t e = 0; e < n_experts; e++)
            evict->layers[i].seed[e] = -1;
        update_chances(evict, &evict->layers[i]);
    }
    *ret_evict = evict;
    return 0;
}

void sl_evict_free(struct sl_evict *evict)
{
    if (!evict)
        return;
    free(evict->layers);
    free(evict->discount);
    free(evict->floats);
    free(evict->counts);
    free(evict);
}

static bool is_among(const uint32_t *experts, uint32_t n_used, uint32_t e)
{
    uint32_t i = 0;

    while (i < n_used && experts[i] != e)
        i++;
    return i < n_used;
}

static float rank_value(const float *scores, const float *bias, uint32_t e)
{
    float rank = scores[e] + (bias ? bias[e] : 0);

    /* routers give scores in 0..1; anything else is broken and must only do no harm */
    return rank > 1e4f ? 1e4f : rank >= -1e4f ? rank : -1e4f;
}

void sl_evict_rank(const float *scores, const float *bias, uint32_t n_experts,
                   const uint32_t *experts, uint32_t n_used, int8_t *ret_ranks)
{
    float lowest = INFINITY, highest = -INFINITY, mean = 0, var = 0, line, scale;

    for (uint32_t i = 0; i < n_used; i++) {
        float r = rank_value(scores, bias, experts[i]);

        lowest = r < lowest ? r : lowest;
    }
    for (uint32_t e = 0; e < n_experts; e++) {
        float r = rank_value(scores, bias, e);

        mean += r;
        if (r > highest && !is_among(experts, n_used, e))
            highest = r;
    }
    mean /= (float)n_experts;
    for (uint32_t e = 0; e < n_experts; e++) {
        float r = rank_value(scores, bias, e) - mean;

        var += r * r;
    }
    var /= (float)n_experts;
    line = n_used == 0 ? highest : n_used >= n_experts ? lowest : (lowest + highest) / 2;
    scale = var > 1e-12f ? 1 / (SL_EVICT_RANK_STEP * sqrtf(var)) : 0;
    for (uint32_t e = 0; e < n_experts; e++) {
        float r = (rank_value(scores, bias, e) - line) * scale;

        r = r > RANK_MAX ? RANK_MAX : r < -RANK_MAX ? -RANK_MAX : r;
        ret_ranks[e] = (int8_t)(r < 0 ? r - 0.5f : r + 0.5f);
    }
}

/* Show the regression what it said of this layer and what came of it. */
static void learn(struct sl_evict *evict, const struct layer_row *l, const uint32_t *experts,
                  uint32_t n_used)
{
    for (uint32_t e = 0; e < evict->n_experts; e++) {
        float x[SL_LOGISTIC_MAX] = { 1 };

        for (uint32_t k = 0; k < N_SHARES; k++)
            x[1 + k] = l->odds[k][e];
        for (uint32_t k = 0; k < N_RANKS; k++)
            x[1 + N_SHARES + k] = l->rank[k][e];
        sl_logistic_learn(&evict->lr, x, l->chance[e], is_among(experts, n_used, e));
    }
    sl_logistic_step(&evict->lr);
}

static void odds_of(float *restrict odds, const float *restrict share, uint32_t n)
{
    for (uint32_t e = 0; e < n; e++)
        odds[e] = sl_logistic_odds(share[e]);
}

/* Move averages of ranks towards the newest. */
static void blend_ranks(float *restrict mean, const int8_t *restrict ranks, float step, uint32_t n)
{
    for (uint32_t e = 0; e < n; e++)
        mean[e] += ((float)ranks[e] * SL_EVICT_RANK_STEP - mean[e]) * step;
}

static void update_features(const struct sl_evict *evict, struct layer_row *l,
                            const uint32_t *experts, uint32_t n_used, const int8_t *ranks)
{
    uint32_t n = evict->n_experts;
    uint64_t n_before = l->n_tokens + l->n_seeded;

    for (uint32_t k = 0; k < N_SHARES; k++) {
        float *share = l->share[k], *odds = l->odds[k];
        float step = n_before > 4096 ? 0 : 1 / ((float)n_before + 2);

        step = step > share_step[k] ? step : share_step[k];
        for (uint32_t e = 0; e < n; e++)
            share[e] -= share[e] * step;
        for (uint32_t i = 0; i < n_used; i++)
            share[experts[i]] += step;
        odds_of(odds, share, n);
    }
    for (uint32_t k = 0; k < N_RANKS; k++) {
        float step = l->n_tokens > 4096 ? 0 : 1 / ((float)l->n_tokens + 1);

        step = step > rank_step[k] ? step : rank_step[k];
        if (ranks)
            blend_ranks(l->rank[k], ranks, step, n);
    }
}

void sl_evict_observe(struct sl_evict *evict, uint32_t layer, const uint32_t *experts,
                      uint32_t n_used, const int8_t *ranks)
{
    struct layer_row *l = &evict->layers[layer];

    assert(layer < evict->n_layers);
    evict->n_seen++;
    /* a multiplicative hash picks, so that no layer is left out whatever their number */
    if (l->n_tokens + l->n_seeded > 0 &&
        (uint32_t)evict->n_seen * 2654435769u < UINT32_MAX / LEARN_ONE_OF)
        learn(evict, l, experts, n_used);
    update_features(evict, l, experts, n_used, ranks);
    update_chances(evict, l);
    l->n_tokens++;
    for (uint32_t i = 0; i < n_used; i++) {
        assert(experts[i] < evict->n_experts);
        l->n_uses[experts[i]]++;
        l->used_at[experts[i]] = ++evict->clock;
    }
}

void sl_evict_reach(struct sl_evict *evict, uint32_t layer)
{
    assert(layer < evict->n_layers);
    evict->layer = layer;
}

/* Layers until this one is reached again: 1..n_layers. */
static uint32_t distance(const struct sl_evict *evict, uint32_t layer)
{
    return layer > evict->layer ? layer - evict->layer
                                : layer + evict->n_layers - evict->layer;
}

float sl_evict_value(const struct sl_evict *evict, uint32_t layer, uint32_t expert)
{
    const struct layer_row *l = &evict->layers[layer];

    switch (evict->policy) {
    case SL_EVICT_LRU:
        return 1 / (1 + (float)(evict->clock - l->used_at[expert]));
    case SL_EVICT_LFU:
        return sl_evict_share(evict, layer, expert);
    default:
        return evict->discount[distance(evict, layer)] * l->base[expert];
    }
}

float sl_evict_guess_value(const struct sl_evict *evict, uint32_t layer, uint32_t expert, float p)
{
    const struct layer_row *l = &evict->layers[layer];

    if (evict->policy != SL_EVICT_DEFAULT)
        return 2 + p;
    return evict->discount[distance(evict, layer)] *
           (p + (1 - p) * DISCOUNT * l->base[expert]);
}

const float *sl_evict_chances(const struct sl_evict *evict, uint32_t layer)
{
    return evict->layers[layer].chance;
}

void sl_evict_seed(struct sl_evict *evict, uint32_t layer, uint32_t expert, float share)
{
    struct layer_row *l = &evict->layers[layer];

    assert(layer < evict->n_layers && expert < evict->n_experts);
    share = share >= 0 ? share : 0;
    share = share < 1 ? share : 1;
    l->seed[expert] = share;
    l->n_seeded = SEED_WEIGHT;
    for (uint32_t k = 0; k < N_SHARES; k++) {
        l->share[k][expert] = share;
        l->odds[k][expert] = sl_logistic_odds(share);
    }
    update_chances(evict, l);
}

float sl_evict_seeded(const struct sl_evict *evict, uint32_t layer, uint32_t expert)
{
    return evict->layers[layer].seed[expert];
}

float sl_evict_share(const struct sl_evict *evict, uint32_t layer, uint32_t expert)
{
    const struct layer_row *l = &evict->layers[layer];

    return l->n_tokens ? (float)l->n_uses[expert] / (float)l->n_tokens : 0;
}

const char *sl_evict_policy_name(enum sl_evict_policy policy)
{
    switch (policy) {
    case SL_EVICT_LRU:
        return "lru";
    case SL_EVICT_LFU:
        return "lfu";
    default:
        return "default";
    }
}
