/*
 * A share is a moving average over tokens. It is brought up to date only when its expert is
 * chosen or looked at: beside it stands at which of the layer's tokens it was true, and from
 * there it falls by half every SL_RESIDENCY_HALF_TOK. Both are one word, so that nobody sees
 * one without the other.
 */
#include "experts/residency.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

int sl_residency_init(struct sl_residency *r, uint32_t n_layers, uint32_t n_experts)
{
    size_t n = (size_t)n_layers * n_experts;

    *r = (struct sl_residency){ .n_layers = n_layers, .n_experts = n_experts };
    r->states = calloc(n ? n : 1, sizeof(*r->states));
    r->shares = calloc(n ? n : 1, sizeof(*r->shares));
    r->n_tok = calloc(n_layers ? n_layers : 1, sizeof(*r->n_tok));
    if (r->states && r->shares && r->n_tok)
        return 0;
    sl_residency_done(r);
    return -ENOMEM;
}

void sl_residency_done(struct sl_residency *r)
{
    free(r->states);
    free(r->shares);
    free(r->n_tok);
    *r = (struct sl_residency){ 0 };
}

static size_t index_of(const struct sl_residency *r, uint32_t layer, uint32_t expert)
{
    return (size_t)layer * r->n_experts + expert;
}

void sl_residency_set(struct sl_residency *r, uint32_t layer, uint32_t expert,
                      enum sl_residency_state state)
{
    atomic_store_explicit(&r->states[index_of(r, layer, expert)], (uint8_t)state,
                          memory_order_relaxed);
}

static uint64_t pack(float share, uint32_t at)
{
    uint32_t bits;

    memcpy(&bits, &share, sizeof(bits));
    return (uint64_t)bits << 32 | at;
}

static float left_after(uint32_t n_tok)
{
    return exp2f(-(float)n_tok / (float)SL_RESIDENCY_HALF_TOK);
}

/* What a packed share has become at token `now`. */
static float share_at(uint64_t packed, uint32_t now)
{
    uint32_t bits = (uint32_t)(packed >> 32), since = now - (uint32_t)packed;
    float share;

    memcpy(&share, &bits, sizeof(share));
    /* the share may be newer than the `now` that was read before it */
    return since > UINT32_MAX / 2 ? share : share * left_after(since);
}

void sl_residency_note(struct sl_residency *r, uint32_t layer, const uint32_t *experts,
                       const uint32_t *counts, uint32_t n, uint32_t n_tok)
{
    uint32_t now = atomic_load_explicit(&r->n_tok[layer], memory_order_relaxed) + n_tok;
    float fresh = 1 - left_after(n_tok);

    for (uint32_t i = 0; i < n; i++) {
        _Atomic uint64_t *entry = &r->shares[index_of(r, layer, experts[i])];
        float share = share_at(atomic_load_explicit(entry, memory_order_relaxed), now) +
                      fresh * (float)counts[i] / (float)n_tok;

        atomic_store_explicit(entry, pack(share, now), memory_order_relaxed);
    }
    atomic_store_explicit(&r->n_tok[layer], now, memory_order_relaxed);
}

enum sl_residency_state sl_residency_state(const struct sl_residency *r, uint32_t layer,
                                           uint32_t expert)
{
    return (enum sl_residency_state)atomic_load_explicit(&r->states[index_of(r, layer, expert)],
                                                         memory_order_relaxed);
}

float sl_residency_share(const struct sl_residency *r, uint32_t layer, uint32_t expert)
{
    uint32_t now = atomic_load_explicit(&r->n_tok[layer], memory_order_relaxed);

    return share_at(atomic_load_explicit(&r->shares[index_of(r, layer, expert)],
                                         memory_order_relaxed), now);
}
