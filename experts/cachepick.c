/*
 * Two questions with different answers. A read that must be made takes the slot of the
 * expert that is worth least now: its chance, discounted by the time until its layer
 * comes round (experts/evict.h). A read that nobody asked for is made for many tokens to
 * come, so it compares chances as they are; with the discount it would chase the layers
 * round and round, reading for ever.
 *
 * Such reads pay because chances change without a use: the router of the last token has
 * ranked the expert high and yet not chosen it. When it is chosen, a token later, there is
 * no time to read it before it is needed. Measured at 8 GiB on the made 24 B model with
 * local routing, the same tokens: 12.7 requests per token that had to be waited for
 * became 4.7, stall fell from 17 to 8 ms; any ratio from 1.1 to 5 gave that within noise.
 */
#include "experts/cachepick.h"

#include <float.h>

/* An expert is read in place of another if it is so many times likelier. With less, noise
 * in chances that are all alike would keep the disk busy. */
#define SWAP_RATIO 3.0f
/* Nothing less likely than this is read unasked. */
#define FILL_CHANCE_MIN 0.02f

static bool can_go(const struct sl_cache *c, const struct sl_slot *s, uint32_t kind)
{
    return !s->is_pinned && s->n_flying == 0 && s->region != SL_SLOT_NONE &&
           (s->state == SL_SLOT_READY || s->state == SL_SLOT_LOADING) &&
           c->slots.regions[s->region].kind == kind;
}

static float hint_of(const struct sl_cache *c, const struct sl_slot *s)
{
    return c->hint_p[(uint64_t)s->layer * c->slots.n_experts + s->expert];
}

/* What the slot's expert is worth. */
static float worth(const struct sl_cache *c, const struct sl_slot *s)
{
    float hint = hint_of(c, s);

    /* the guess knows the past too, so it counts even where it says less */
    return hint > 0 ? sl_evict_guess_value(c->evict, s->layer, s->expert, hint)
                    : sl_evict_value(c->evict, s->layer, s->expert);
}

/* How likely its layer's next token chooses it, at most. */
static float chance(const struct sl_cache *c, const struct sl_slot *s)
{
    float hint = hint_of(c, s), past = sl_evict_chances(c->evict, s->layer)[s->expert];

    return hint > past ? hint : past;
}

/* The slot of the kind with the least value, below limit; of equal ones the one used
 * longest ago. */
static uint32_t find_least(const struct sl_cache *c, uint32_t kind, float limit,
                           float (*value_of)(const struct sl_cache *, const struct sl_slot *))
{
    uint32_t found = SL_SLOT_NONE;
    float least = limit;

    for (uint32_t i = 0; i < c->slots.n_top; i++) {
        const struct sl_slot *s = &c->slots.slots[i];
        float value;

        if (!can_go(c, s, kind))
            continue;
        value = value_of(c, s);
        if (value < least || (found != SL_SLOT_NONE && value == least &&
                              s->last_use < c->slots.slots[found].last_use)) {
            found = i;
            least = value;
        }
    }
    return found;
}

/* A free slot of the kind, or that of a victim. */
static uint32_t take(struct sl_cache *c, uint32_t kind, float limit,
                     float (*value_of)(const struct sl_cache *, const struct sl_slot *))
{
    uint32_t slot = sl_slots_take_free(&c->slots, kind);

    if (slot != SL_SLOT_NONE)
        return slot;
    slot = find_least(c, kind, limit, value_of);
    if (slot == SL_SLOT_NONE)
        return slot;
    c->counters.evictions++;
    sl_cacheload_empty(c, slot);
    return sl_slots_take_free(&c->slots, kind);
}

uint32_t sl_cachepick_slot(struct sl_cache *c, uint32_t layer, float limit)
{
    return take(c, sl_slots_kind(&c->slots, layer), limit, worth);
}

void sl_cachepick_note(struct sl_cache *c, uint32_t layer)
{
    struct sl_cache_missing *missing = &c->missing[layer];
    const float *chances = sl_evict_chances(c->evict, layer);

    *missing = (struct sl_cache_missing){ .chance = 0 };
    for (uint32_t e = 0; e < c->layers[layer].mats[0].n_mats; e++)
        if (chances[e] >= FILL_CHANCE_MIN && chances[e] > missing->chance &&
            sl_slots_find(&c->slots, layer, e) == SL_SLOT_NONE)
            *missing = (struct sl_cache_missing){ .expert = e, .chance = chances[e] };
}

/* The layer whose missing expert is worth most now, so that what comes soon is read first;
 * n_layers if there is none. */
static uint32_t best_missing(const struct sl_cache *c)
{
    uint32_t best_layer = c->n_layers;
    float best = 0;

    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        const struct sl_cache_missing *missing = &c->missing[layer];
        float value;

        if (missing->chance <= 0)
            continue;
        value = sl_evict_value(c->evict, layer, missing->expert);
        if (value > best) {
            best = value;
            best_layer = layer;
        }
    }
    return best_layer;
}

bool sl_cachepick_fill(struct sl_cache *c, bool is_swapping, uint32_t *ret_layer,
                       uint32_t *ret_expert, uint32_t *ret_slot)
{
    for (uint32_t layer; (layer = best_missing(c)) < c->n_layers;) {
        struct sl_cache_missing *missing = &c->missing[layer];
        float limit = is_swapping ? missing->chance / SWAP_RATIO : 0;

        *ret_layer = layer;
        *ret_expert = missing->expert;
        missing->chance = 0; /* until the layer is noted again */
        if (sl_slots_find(&c->slots, layer, *ret_expert) != SL_SLOT_NONE)
            continue; /* somebody else was faster */
        *ret_slot = take(c, sl_slots_kind(&c->slots, layer), limit, chance);
        if (*ret_slot != SL_SLOT_NONE)
            return true;
    }
    return false;
}
