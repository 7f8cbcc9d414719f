/*
 * Values of experts: three policies over one table of counts.
 *
 * Default: the share of a layer's tokens that chose the expert, decayed so that old
 * tokens weigh less: share += (chosen - share) / SPAN. While a layer has seen fewer
 * than SPAN tokens the step is 1 / tokens, which makes the share a plain average.
 *
 * Invariants: shares lie in 0..1; a layer's clock counts its tokens; used_at is the
 * global clock of the last use, 0 for never.
 */
#include "experts/evict.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define SPAN 256.0f

struct layer_row {
    uint64_t n_tokens;
    float weight; /* tokens that the decayed share stands for, at most SPAN */
};

struct sl_evict {
    enum sl_evict_policy policy;
    uint32_t n_layers, n_experts, n_used;
    uint64_t clock; /* uses, all layers */
    struct layer_row *layers;
    float *share;      /* [n_layers][n_experts] */
    uint64_t *n_uses;  /* the same shape */
    uint64_t *used_at;
};

int sl_evict_new(struct sl_evict **ret_evict, enum sl_evict_policy policy, uint32_t n_layers,
                 uint32_t n_experts, uint32_t n_used)
{
    struct sl_evict *evict = calloc(1, sizeof(*evict));
    size_t n = (size_t)n_layers * n_experts;

    if (!evict)
        return -ENOMEM;
    evict->policy = policy;
    evict->n_layers = n_layers;
    evict->n_experts = n_experts;
    evict->n_used = n_used;
    evict->layers = calloc(n_layers ? n_layers : 1, sizeof(*evict->layers));
    evict->share = calloc(n ? n : 1, sizeof(*evict->share));
    evict->n_uses = calloc(n ? n : 1, sizeof(*evict->n_uses));
    evict->used_at = calloc(n ? n : 1, sizeof(*evict->used_at));
    if (!evict->layers || !evict->share || !evict->n_uses || !evict->used_at) {
        sl_evict_free(evict);
        return -ENOMEM;
    }
    for (size_t i = 0; i < n; i++)
        evict->share[i] = (float)n_used / (float)n_experts;
    *ret_evict = evict;
    return 0;
}

void sl_evict_free(struct sl_evict *evict)
{
    if (!evict)
        return;
    free(evict->layers);
    free(evict->share);
    free(evict->n_uses);
    free(evict->used_at);
    free(evict);
}

void sl_evict_observe(struct sl_evict *evict, uint32_t layer, const uint32_t *experts,
                      uint32_t n_used, const float *ranks)
{
    struct layer_row *l = &evict->layers[layer];
    size_t first = (size_t)layer * evict->n_experts;
    float *share = evict->share + first;
    float step;

    assert(layer < evict->n_layers);
    (void)ranks;
    l->n_tokens++;
    l->weight = l->weight + 1 < SPAN ? l->weight + 1 : SPAN;
    step = 1 / (l->weight + 1);
    for (uint32_t e = 0; e < evict->n_experts; e++)
        share[e] -= share[e] * step;
    for (uint32_t i = 0; i < n_used; i++) {
        assert(experts[i] < evict->n_experts);
        share[experts[i]] += step;
        evict->n_uses[first + experts[i]]++;
        evict->used_at[first + experts[i]] = ++evict->clock;
    }
}

float sl_evict_value(const struct sl_evict *evict, uint32_t layer, uint32_t expert)
{
    size_t i = (size_t)layer * evict->n_experts + expert;
    float age = (float)(evict->clock - evict->used_at[i]);

    switch (evict->policy) {
    case SL_EVICT_LRU:
        return 1 / (1 + age);
    case SL_EVICT_LFU:
        return sl_evict_share(evict, layer, expert);
    default:
        return evict->share[i];
    }
}

void sl_evict_seed(struct sl_evict *evict, uint32_t layer, uint32_t expert, float share)
{
    assert(layer < evict->n_layers && expert < evict->n_experts);
    if (!(share >= 0))
        share = 0;
    evict->share[(size_t)layer * evict->n_experts + expert] = share < 1 ? share : 1;
    evict->layers[layer].weight = SPAN / 4;
}

float sl_evict_share(const struct sl_evict *evict, uint32_t layer, uint32_t expert)
{
    uint64_t n_tokens = evict->layers[layer].n_tokens;
    uint64_t n_uses = evict->n_uses[(size_t)layer * evict->n_experts + expert];

    return n_tokens ? (float)n_uses / (float)n_tokens : 0;
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
