/*
 * The expert cache as a state machine. A slot is in one of four states:
 *
 *     EMPTY ──begin──► LOADING ──last slice lands──► READY
 *       ▲                │  │                          │
 *       │   given up,    │  └──given up──►┐            │ evicted
 *       │   none flying  │                ▼            │
 *       ├────────────────┘            DRAINING         │
 *       ├──────last flying slice lands────┘            │
 *       └──────────────────────────────────────────────┘
 *
 * A slot whose slice fails is given up: at once, or if it is pinned, when its ticket is
 * released; until then the parts that did land may be looked at. A slice that was in
 * flight already when the ticket came is read again first.
 *
 * A slot of origin DEMAND has a ticket; its slices are submitted at once, gates and ups
 * of all tickets before any down. A slot of origin GUESS or FILL is read slice by slice
 * and only while hardly anything else is in flight, so that a demand never waits for
 * more than SL_CACHE_FLYING_IDLE slices of guesses; a guess that comes true becomes a demand and
 * goes on where it stands; one that does not is given up. One GUESS and one FILL may be
 * half submitted at a time, the guess goes first. Fillings take free slots, and those of
 * experts that have become far less likely (experts/cachepick.c).
 *
 * Eviction happens when a read is to be started, in program order, and chooses the
 * unpinned slot of least value. Nothing here looks at a clock (but to count time), so
 * the same calls and the same landings give the same states.
 *
 * Invariants (sl_cache_verify):
 *  1. map[layer][expert] is s exactly if slot s is LOADING or READY with that key.
 *  2. The slots' n_flying add up to the reads in flight.
 *  3. READY has all parts, LOADING not, EMPTY and READY have nothing in flight, DRAINING
 *     has something.
 *  4. A slot is pinned exactly if an open ticket names it; pinned slots hold a key.
 *  5. The free list has exactly the EMPTY slots that have memory.
 *  6. Slots read ahead are LOADING, not pinned, with slices left to submit; no other
 *     slot that is not pinned has slices left.
 *  7. A slot with an error is LOADING and pinned.
 *  8. Onlookers (residency.h) see of each expert what its slot says.
 */
#include "experts/cache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "experts/cacheload.h"
#include "experts/cachepick.h"
#include "experts/prefetch.h"
#include "experts/slots.h"

/* Of experts that a layer will hardly choose: more than 0, which means not guessed. */
#define HINT_P_MIN 0.001f
/* Requests over which misses are averaged: on the 24 B model, those of three tokens. */
#define MISS_MEMORY 512.0f

/* ---- resident ---- */

static int new_common(struct sl_cache **ret_cache, const struct sl_cache_layer *layers,
                      uint32_t n_layers)
{
    struct sl_cache *c = calloc(1, sizeof(*c));
    uint32_t n_experts = 0;
    int r;

    if (!c)
        return -ENOMEM;
    for (int i = 0; i < SL_CACHE_AHEAD_COUNT; i++)
        c->ahead[i] = SL_SLOT_NONE;
    c->n_layers = n_layers;
    c->layers = malloc(n_layers * sizeof(*layers));
    if (!c->layers) {
        free(c);
        return -ENOMEM;
    }
    memcpy(c->layers, layers, n_layers * sizeof(*layers));
    for (uint32_t i = 0; i < n_layers; i++)
        if (layers[i].mats[SL_PART_GATE].n_mats > n_experts)
            n_experts = layers[i].mats[SL_PART_GATE].n_mats;
    r = sl_residency_init(&c->residency, n_layers, n_experts);
    if (r < 0) {
        free(c->layers);
        free(c);
        return r;
    }
    *ret_cache = c;
    return 0;
}

int sl_cache_new_resident(struct sl_cache **ret_cache, const struct sl_cache_layer *layers,
                          uint32_t n_layers)
{
    int r = new_common(ret_cache, layers, n_layers);

    for (uint32_t i = 0; r == 0 && i < n_layers; i++)
        for (uint32_t e = 0; e < layers[i].mats[SL_PART_GATE].n_mats; e++)
            sl_residency_set(&(*ret_cache)->residency, i, e, SL_RESIDENCY_MEMORY);
    return r;
}

static void request_resident(const struct sl_cache_layer *l, uint32_t layer,
                             const uint32_t *experts, uint32_t n, struct sl_ticket *tickets)
{
    for (uint32_t i = 0; i < n; i++) {
        struct sl_ticket *t = &tickets[i];

        *t = (struct sl_ticket){ .layer = layer, .expert = experts[i], .parts = SL_PARTS_ALL,
                                 .slot = SL_SLOT_NONE, .is_open = true };
        for (uint32_t p = 0; p < SL_PART_COUNT; p++) {
            t->mats[p] = sl_tensor_mat(&l->mats[p], experts[i]);
            if (l->addresses)
                t->mats[p].data = l->addresses[(uint64_t)experts[i] * SL_PART_COUNT + p];
        }
    }
}

/* ---- streaming: making and unmaking ---- */

int sl_cache_new_streaming(struct sl_cache **ret_cache, const struct sl_cache_layer *layers,
                           uint32_t n_layers, const struct sl_cache_opts *opts)
{
    struct sl_cache *c;
    int r = new_common(&c, layers, n_layers);

    if (r < 0)
        return r;
    c->is_streaming = true;
    c->opts = *opts;
    r = sl_slots_init(&c->slots, layers, n_layers, opts->n_used, opts->reader);
    if (r < 0)
        goto fail;
    c->slots.place = opts->place;
    c->slots.place_arg = opts->place_arg;
    c->hint_p = calloc((size_t)n_layers * c->slots.n_experts, sizeof(*c->hint_p));
    c->missing = calloc(n_layers, sizeof(*c->missing));
    c->is_filling = opts->guess;
    if (!c->hint_p || !c->missing) {
        r = -ENOMEM;
        goto fail;
    }
    r = sl_evict_new(&c->evict, opts->policy, n_layers, c->slots.n_experts, opts->n_used);
    if (r < 0)
        goto fail;
    r = sl_prefetch_new(&c->prefetch, n_layers, c->slots.n_experts);
    if (r < 0)
        goto fail;
    *ret_cache = c;
    return 0;

fail:
    sl_cache_free(c);
    return r;
}

void sl_cache_free(struct sl_cache *c)
{
    if (!c)
        return;
    if (c->is_streaming) {
        while (sl_reader_n_flying(c->opts.reader))
            (void)sl_cacheload_reap(c, true);
        sl_prefetch_free(c->prefetch);
        sl_evict_free(c->evict);
        free(c->hint_p);
        free(c->missing);
        sl_slots_done(&c->slots);
    }
    sl_residency_done(&c->residency);
    free(c->layers);
    free(c);
}

bool sl_cache_is_streaming(const struct sl_cache *c)
{
    return c->is_streaming;
}

const struct sl_cache_layer *sl_cache_layers(const struct sl_cache *c)
{
    return c->layers;
}

/* ---- requests ---- */

/* Show in the ticket what is in memory by now. True if that is more than before. */
static bool update(struct sl_cache *c, struct sl_ticket *t)
{
    const struct sl_slot *s;
    uint32_t more;

    if (!t->is_open || t->slot == SL_SLOT_NONE)
        return false;
    s = &c->slots.slots[t->slot];
    more = s->parts & ~t->parts;
    for (uint32_t p = 0; p < SL_PART_COUNT; p++)
        if (more & 1u << p)
            t->mats[p].data = sl_cacheload_range(c, t->slot, t->layer, t->expert, p).matrix;
    t->parts = s->parts;
    t->unchecked |= s->unchecked & more;
    if (s->error && !t->error)
        t->error = s->error;
    return more != 0;
}

static void count_request(struct sl_cache *c, const struct sl_slot *s)
{
    struct sl_cache_counters *n = &c->counters;
    uint64_t hits = n->hits;

    n->requests++;
    if (!s)
        n->misses++;
    else if (s->origin == SL_SLOT_GUESS && !s->was_used)
        *(s->state == SL_SLOT_READY ? &n->covered : &n->covered_late) += 1;
    else if (s->state == SL_SLOT_READY)
        n->hits++;
    else
        n->covered_late++; /* being read to fill a slot */
    c->miss_share += ((n->hits == hits ? 1.0f : 0.0f) - c->miss_share) / MISS_MEMORY;
}

/* Pin what the cache has of it. */
static void find_ticket(struct sl_cache *c, struct sl_ticket *t)
{
    uint32_t slot = sl_slots_find(&c->slots, t->layer, t->expert);
    struct sl_slot *s = slot == SL_SLOT_NONE ? NULL : &c->slots.slots[slot];

    count_request(c, s);
    sl_cacheload_event(c, SL_CACHE_EVENT_REQUEST, t->layer, t->expert, s ? s->parts : 0);
    if (!s)
        return;
    t->slot = slot;
    s->is_pinned = true;
    sl_cacheload_show(c, slot);
    s->n_again = s->n_flying;
    if (!s->was_used) {
        c->counters.guesses_used += s->origin == SL_SLOT_GUESS;
        c->counters.used_bytes += s->bytes_read;
        s->was_used = true;
    }
    sl_cacheload_forget(c, slot); /* a demand from now on */
}

void sl_cache_request(struct sl_cache *c, uint32_t layer, const uint32_t *experts, uint32_t n,
                      struct sl_ticket *tickets)
{
    uint32_t guessed;

    assert(layer < c->n_layers && c->n_open_tickets == 0);
    if (!c->is_streaming) {
        request_resident(&c->layers[layer], layer, experts, n, tickets);
        return;
    }
    sl_cacheload_tell(c, &(struct sl_cache_event){ .kind = SL_CACHE_EVENT_ASK, .layer = layer,
                                                   .n = n, .experts = experts });
    (void)sl_cacheload_reap(c, false);
    c->tickets = tickets;
    c->n_tickets = c->n_open_tickets = c->n_asked = n;
    c->layer = layer;
    if (c->opts.guess)
        sl_cacheload_reached(c);
    sl_evict_reach(c->evict, layer);
    sl_prefetch_expire(c->prefetch, layer);
    memset(c->hint_p + (uint64_t)layer * c->slots.n_experts, 0,
           sizeof(*c->hint_p) * c->slots.n_experts);
    for (uint32_t i = 0; i < n; i++) {
        tickets[i] = (struct sl_ticket){ .layer = layer, .expert = experts[i],
                                         .slot = SL_SLOT_NONE, .is_open = true };
        for (uint32_t p = 0; p < SL_PART_COUNT; p++)
            tickets[i].mats[p] = sl_tensor_mat(&c->layers[layer].mats[p], 0);
        for (uint32_t p = 0; p < SL_PART_COUNT; p++)
            tickets[i].mats[p].data = NULL;
        find_ticket(c, &tickets[i]);
    }
    guessed = c->ahead[SL_CACHE_AHEAD_GUESS];
    if (guessed != SL_SLOT_NONE && c->slots.slots[guessed].layer == layer)
        sl_cacheload_empty(c, guessed); /* it did not come true */
    sl_cacheload_pump(c);
    for (uint32_t i = 0; i < n; i++)
        (void)update(c, &tickets[i]);
}

/* Show in all tickets what is in memory. True if there is nothing to wait for. */
static bool is_answered(struct sl_cache *c, int *ret_error)
{
    bool is_more = false, is_missing = false;

    *ret_error = 0;
    for (uint32_t i = 0; i < c->n_tickets; i++) {
        struct sl_ticket *t = &c->tickets[i];

        is_more |= update(c, t);
        is_missing |= t->is_open && !t->error && t->parts != SL_PARTS_ALL;
        if (t->is_open && t->error && !*ret_error)
            *ret_error = t->error;
    }
    return *ret_error || is_more || !is_missing;
}

int sl_cache_wait(struct sl_cache *c)
{
    uint64_t start = 0, waited;
    int error;

    if (!c->is_streaming)
        return 0;
    sl_cacheload_event(c, SL_CACHE_EVENT_WAIT, 0, 0, 0);
    for (;;) {
        bool is_done = is_answered(c, &error);

        sl_cacheload_pump(c);
        /* nothing flying: all slots are pinned */
        if (is_done || sl_reader_n_flying(c->opts.reader) == 0)
            break;
        if (!start)
            start = sl_clock_ns();
        (void)sl_cacheload_reap(c, true);
    }
    waited = start ? sl_clock_ns() - start : 0;
    c->counters.stall_ns += waited;
    sl_cacheload_event(c, SL_CACHE_EVENT_WAITED, 0, 0, waited);
    return error;
}

void sl_cache_poll(struct sl_cache *c)
{
    if (!c->is_streaming)
        return;
    sl_cacheload_event(c, SL_CACHE_EVENT_POLL, 0, 0, 0);
    if (sl_cacheload_reap(c, false) || sl_reader_n_flying(c->opts.reader) < SL_CACHE_FLYING_IDLE)
        sl_cacheload_pump(c);
}

int sl_cache_check(struct sl_cache *c, struct sl_ticket *t, enum sl_part part)
{
    struct sl_cache_range r = sl_cacheload_range(c, t->slot, t->layer, t->expert, part);

    return c->opts.check.run(c->opts.check.arg, t->layer, t->expert, part, r.stored, r.matrix);
}

void sl_cache_checked(struct sl_cache *c, struct sl_ticket *t, enum sl_part part, int result)
{
    struct sl_slot *s = &c->slots.slots[t->slot];

    t->unchecked &= ~(1u << part);
    s->unchecked &= (uint8_t) ~(1u << part);
    if (result < 0)
        t->error = result;
}

void sl_cache_release(struct sl_cache *c, struct sl_ticket *t)
{
    struct sl_slot *s;

    assert(t->is_open);
    if (c->is_streaming)
        sl_cacheload_event(c, SL_CACHE_EVENT_RELEASE, t->layer, t->expert, 0);
    t->is_open = false;
    if (!c->is_streaming)
        return;
    if (--c->n_open_tickets == 0)
        c->n_tickets = 0; /* their memory may go, with the session */
    if (t->slot == SL_SLOT_NONE)
        return;
    s = &c->slots.slots[t->slot];
    s->is_pinned = false;
    sl_cacheload_show(c, t->slot);
    s->last_use = ++c->use_count;
    /* what is broken, or not wanted any more before it was there, must not stay */
    if (t->error || s->state == SL_SLOT_LOADING)
        sl_cacheload_empty(c, t->slot); /* also where a slice has failed */
}

void sl_cache_observe(struct sl_cache *c, uint32_t layer, const uint32_t *experts, uint32_t n_used,
                      const int8_t *ranks)
{
    if (!c->is_streaming)
        return;
    sl_cacheload_tell(c, &(struct sl_cache_event){ .kind = SL_CACHE_EVENT_OBSERVE, .layer = layer,
                                      .n = n_used, .experts = experts, .ranks = ranks });
    sl_evict_observe(c->evict, layer, experts, n_used, ranks);
    sl_cachepick_note(c, layer);
}

void sl_cache_note(struct sl_cache *c, uint32_t layer, const uint32_t *experts,
                   const uint32_t *counts, uint32_t n, uint32_t n_tok)
{
    sl_residency_note(&c->residency, layer, experts, counts, n, n_tok);
}

const struct sl_residency *sl_cache_residency(const struct sl_cache *c)
{
    return &c->residency;
}

const float *sl_cache_chances(const struct sl_cache *c, uint32_t layer)
{
    return c->is_streaming ? sl_evict_chances(c->evict, layer) : NULL;
}

/* Remember the guesses of one layer, which begin at i. Experts that are not named share
 * what is left: a router that has been asked says as much of them. Returns where the next
 * layer's begin. */
static uint32_t note_guesses(struct sl_cache *c, const struct sl_guess *guesses, uint32_t i,
                             uint32_t n)
{
    uint32_t n_experts = c->slots.n_experts, layer = guesses[i].layer, end = i;
    float *p = c->hint_p + (uint64_t)layer * n_experts;
    float left = (float)c->opts.n_used, rest;

    for (; end < n && guesses[end].layer == layer; end++)
        left -= guesses[end].p;
    rest = end - i < n_experts ? left / (float)(n_experts - (end - i)) : 0;
    for (uint32_t e = 0; e < n_experts; e++)
        p[e] = rest > HINT_P_MIN ? rest : HINT_P_MIN;
    for (; i < end; i++)
        p[guesses[i].expert] = guesses[i].p > HINT_P_MIN ? guesses[i].p : HINT_P_MIN;
    return end;
}

void sl_cache_hint(struct sl_cache *c, const struct sl_guess *guesses, uint32_t n)
{
    if (!c->is_streaming || !c->opts.guess)
        return;
    sl_cacheload_tell(c, &(struct sl_cache_event){
                .kind = SL_CACHE_EVENT_HINT, .n = n, .guesses = guesses });
    for (uint32_t i = 0; i < n; i = note_guesses(c, guesses, i, n))
        ;
    sl_prefetch_put(c->prefetch, guesses, n);
    sl_cacheload_pump(c);
}

float sl_cache_miss_share(const struct sl_cache *c)
{
    return c->miss_share;
}

void sl_cache_fill(struct sl_cache *c)
{
    if (!c->is_streaming)
        return;
    c->is_filling = true;
    for (uint32_t i = 0; i < c->n_layers; i++)
        sl_cachepick_note(c, i);
    sl_cacheload_event(c, SL_CACHE_EVENT_FILL, 0, 0, 0);
}

struct sl_evict *sl_cache_evict(struct sl_cache *c)
{
    return c->evict;
}

/* ---- budget ---- */

/* Forget what a slot holds, waiting for reads into it. */
static void drop(void *arg, uint32_t slot)
{
    struct sl_cache *c = arg;
    const struct sl_slot *s = &c->slots.slots[slot];

    if (s->state == SL_SLOT_LOADING || s->state == SL_SLOT_READY)
        sl_cacheload_empty(c, slot);
    while (s->state == SL_SLOT_DRAINING)
        (void)sl_cacheload_reap(c, true);
}

int sl_cache_set_budget(struct sl_cache *c, uint64_t bytes)
{
    uint32_t n_before = 0, n_after = 0;
    int r;

    assert(c->n_open_tickets == 0);
    sl_cacheload_event(c, SL_CACHE_EVENT_BUDGET, 0, 0, bytes);
    for (uint32_t i = 0; i < SL_REGIONS_MAX; i++)
        n_before += c->slots.regions[i].base != NULL;
    r = sl_slots_resize(&c->slots, bytes, drop, c);
    for (uint32_t i = 0; i < SL_REGIONS_MAX; i++)
        n_after += c->slots.regions[i].base != NULL;
    if (n_after < n_before)
        c->counters.regions_given_back += n_before - n_after;
    return r;
}

uint64_t sl_cache_slot_bytes_max(const struct sl_cache *c)
{
    return c->slots.kind_bytes[c->slots.n_kinds - 1];
}

uint64_t sl_cache_budget_all(const struct sl_cache *c)
{
    uint64_t bytes = 0;

    for (uint32_t k = 0; k < c->slots.n_kinds; k++)
        bytes += c->slots.kind_bytes[k] * c->slots.kind_experts[k];
    return bytes;
}

/* ---- looking ---- */

void sl_cache_get_counters(const struct sl_cache *c, struct sl_cache_counters *ret_counters)
{
    *ret_counters = c->counters;
    if (!c->is_streaming)
        return;
    ret_counters->slot_bytes = c->slots.bytes;
    for (uint32_t i = 0; i < SL_REGIONS_MAX; i++)
        ret_counters->n_regions += c->slots.regions[i].base != NULL;
    for (uint32_t i = 0; i < c->slots.n_slots_max; i++) {
        const struct sl_slot *s = &c->slots.slots[i];

        ret_counters->n_slots += s->region != SL_SLOT_NONE;
        ret_counters->n_ready += s->state == SL_SLOT_READY;
        ret_counters->n_loading += s->state == SL_SLOT_LOADING;
    }
}

void sl_cache_set_event_fn(struct sl_cache *c, sl_cache_event_fn fn, void *arg)
{
    c->event_fn = fn;
    c->event_arg = arg;
}

static const char *verify_tickets(const struct sl_cache *c)
{
    uint32_t n_pinned = 0, n_open = 0;

    for (uint32_t i = 0; i < c->n_tickets; i++) {
        const struct sl_ticket *t = &c->tickets[i];

        if (!t->is_open || t->slot == SL_SLOT_NONE)
            continue;
        n_open++;
        if (!c->slots.slots[t->slot].is_pinned ||
            sl_slots_find(&c->slots, t->layer, t->expert) != t->slot)
            return "4: an open ticket's slot is not pinned, or holds something else";
        if (t->parts & ~c->slots.slots[t->slot].parts)
            return "4: a ticket shows a part that is not in memory";
    }
    for (uint32_t i = 0; i < c->slots.n_slots_max; i++)
        n_pinned += c->slots.slots[i].is_pinned;
    return n_pinned == n_open ? NULL : "4: a slot is pinned without a ticket";
}

static const char *verify_residency(const struct sl_cache *c)
{
    for (uint32_t i = 0; i < c->n_layers; i++)
        for (uint32_t e = 0; e < c->slots.n_experts; e++) {
            uint32_t slot = sl_slots_find(&c->slots, i, e);
            enum sl_residency_state state = slot == SL_SLOT_NONE
                                                ? SL_RESIDENCY_DISK
                                                : sl_cacheload_residency(&c->slots.slots[slot]);

            if (sl_residency_state(&c->residency, i, e) != state)
                return "8: onlookers see another state of an expert";
        }
    return NULL;
}

const char *sl_cache_verify(const struct sl_cache *c)
{
    uint32_t n_flying = 0;
    const char *broken;

    if (!c->is_streaming)
        return NULL;
    broken = sl_slots_verify(&c->slots);
    if (!broken)
        broken = verify_tickets(c);
    if (!broken)
        broken = verify_residency(c);
    if (broken)
        return broken;
    for (uint32_t i = 0; i < c->slots.n_slots_max; i++) {
        const struct sl_slot *s = &c->slots.slots[i];
        bool is_unfinished = s->state == SL_SLOT_LOADING && s->next_slice < s->n_slices;

        n_flying += s->n_flying;
        if ((c->ahead[0] == i || c->ahead[1] == i) != (is_unfinished && !s->is_pinned))
            return "6: a slot with slices left is neither pinned nor read ahead";
        if (s->error && s->state == SL_SLOT_LOADING && !s->is_pinned)
            return "7: a failed slot was kept";
    }
    return n_flying == sl_reader_n_flying(c->opts.reader) ? NULL : "2: reads in flight";
}
