/*
 * Filling and emptying slots: the transitions of the state machine in cache.c, and which
 * slices to submit next. Demands come first, gates and ups of all of them before any down;
 * guesses, then fillings, only on an idle disk.
 */
#include "experts/cacheload.h"

#include <assert.h>
#include <float.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "experts/cachepick.h"

/* Large enough for the disk's full speed, small enough that gate and up come early. */
#define SLICE_BYTES (1u << 20)
/* Guesses less likely than this are not read: with a disk that has time for all of them,
 * and with one that never has, where a wrong one costs the time of a right one. */
#define GUESS_P_IDLE 0.25f
#define GUESS_P_BUSY 0.60f
#define BATCH 64u
/* Layers over which it is averaged whether guesses were left unread. */
#define BEHIND_MEMORY 128.0f

void sl_cacheload_tell(struct sl_cache *c, const struct sl_cache_event *event)
{
    if (c->event_fn)
        c->event_fn(c->event_arg, event);
}

void sl_cacheload_event(struct sl_cache *c, enum sl_cache_event_kind kind, uint32_t layer,
                        uint32_t expert, uint64_t value)
{
    sl_cacheload_tell(c, &(struct sl_cache_event){ .kind = kind, .layer = layer,
                                                   .expert = expert, .value = value });
}

enum sl_residency_state sl_cacheload_residency(const struct sl_slot *s)
{
    switch (s->state) {
    case SL_SLOT_LOADING: return s->is_pinned ? SL_RESIDENCY_READING : SL_RESIDENCY_AHEAD;
    case SL_SLOT_READY: return s->is_pinned ? SL_RESIDENCY_PINNED : SL_RESIDENCY_MEMORY;
    default: return SL_RESIDENCY_DISK;
    }
}

void sl_cacheload_show(struct sl_cache *c, uint32_t slot)
{
    const struct sl_slot *s = &c->slots.slots[slot];

    sl_residency_set(&c->residency, s->layer, s->expert, sl_cacheload_residency(s));
}

static void landed(struct sl_cache *c, const struct sl_read_done *done);

/* Take note of completed reads. */
uint32_t sl_cacheload_reap(struct sl_cache *c, bool wait)
{
    struct sl_read_done done[BATCH];
    uint32_t n = sl_reader_reap(c->opts.reader, wait, done, BATCH);

    sl_cacheload_event(c, SL_CACHE_EVENT_REAP, 0, 0, n);
    for (uint32_t i = 0; i < n; i++)
        landed(c, &done[i]);
    if (n && sl_reader_n_flying(c->opts.reader) == 0)
        c->counters.read_ns += sl_clock_ns() - c->read_start_ns;
    return n;
}

static uint32_t *map_of(struct sl_cache *c, uint32_t layer, uint32_t expert)
{
    return &c->slots.map[(uint64_t)layer * c->slots.n_experts + expert];
}

static const struct sl_part_at *part_at(const struct sl_cache *c, uint32_t layer, uint32_t expert,
                                        uint32_t part)
{
    return &c->layers[layer].parts[(uint64_t)expert * SL_PART_COUNT + part];
}

struct sl_cache_range sl_cacheload_range(const struct sl_cache *c, uint32_t slot, uint32_t layer,
                                         uint32_t expert, uint32_t part)
{
    const struct sl_slot_shape *shape = &c->slots.shapes[layer];
    const struct sl_part_at *at = part_at(c, layer, expert, part);
    uint64_t align = sl_reader_alignment(c->opts.reader);
    bool is_encoded = at->bytes != sl_tensor_mat_bytes(&c->layers[layer].mats[part]);
    uint8_t *room = sl_slots_base(&c->slots, slot) + shape->part_off[part];
    struct sl_cache_range r = { .off = at->off / align * align };

    r.bytes = sl_align_up(at->off + at->bytes, align) - r.off;
    r.n_slices = (uint32_t)((r.bytes + SLICE_BYTES - 1) / SLICE_BYTES);
    /* what is to be decoded lies at the end, see struct sl_part_check */
    r.buf = is_encoded ? room + shape->part_room[part] - r.bytes : room;
    r.stored = r.buf + (at->off - r.off);
    r.matrix = is_encoded ? room : r.stored;
    return r;
}

/* The read of a slice, numbered through all parts; returns its part. */
static uint32_t slice_read(const struct sl_cache *c, uint32_t slot, uint32_t slice,
                           struct sl_read *ret_read)
{
    const struct sl_slot *s = &c->slots.slots[slot];
    uint32_t part = 0, i = slice;
    struct sl_cache_range r = sl_cacheload_range(c, slot, s->layer, s->expert, 0);
    uint64_t step;

    while (i >= r.n_slices) {
        i -= r.n_slices;
        r = sl_cacheload_range(c, slot, s->layer, s->expert, ++part);
    }
    step = sl_align_up((r.bytes + r.n_slices - 1) / r.n_slices,
                       sl_reader_alignment(c->opts.reader));
    *ret_read = (struct sl_read){
        .off = r.off + step * i,
        .buf = r.buf + step * i,
        .bytes = (uint32_t)(i + 1 < r.n_slices ? step : r.bytes - step * i),
        .tag = (uint64_t)slice << 32 | slot,
        .file = part_at(c, s->layer, s->expert, part)->file,
        .region = c->slots.regions[s->region].reader_region,
    };
    return part;
}

static void begin(struct sl_cache *c, uint32_t slot, uint32_t layer, uint32_t expert,
                  enum sl_slot_origin origin)
{
    struct sl_slot *s = &c->slots.slots[slot];

    assert(s->state == SL_SLOT_EMPTY);
    *s = (struct sl_slot){ .layer = layer, .expert = expert, .region = s->region,
                           .state = SL_SLOT_LOADING, .origin = origin };
    for (uint32_t p = 0; p < SL_PART_COUNT; p++) {
        s->n_left[p] = (uint16_t)sl_cacheload_range(c, slot, layer, expert, p).n_slices;
        s->n_slices += s->n_left[p];
    }
    *map_of(c, layer, expert) = slot;
    sl_cacheload_show(c, slot);
    sl_prefetch_drop(c->prefetch, layer, expert);
    c->counters.guesses += origin == SL_SLOT_GUESS;
    sl_cacheload_event(c, SL_CACHE_EVENT_READ, layer, expert, origin);
}

void sl_cacheload_forget(struct sl_cache *c, uint32_t slot)
{
    for (int i = 0; i < SL_CACHE_AHEAD_COUNT; i++)
        if (c->ahead[i] == slot)
            c->ahead[i] = SL_SLOT_NONE;
}

/* The slot's expert is forgotten; reads in flight are waited for in DRAINING. */
void sl_cacheload_empty(struct sl_cache *c, uint32_t slot)
{
    struct sl_slot *s = &c->slots.slots[slot];

    assert(!s->is_pinned && (s->state == SL_SLOT_LOADING || s->state == SL_SLOT_READY));
    sl_cacheload_event(c, SL_CACHE_EVENT_EVICT, s->layer, s->expert, !s->was_used);
    if (!s->was_used) {
        c->counters.wasted_bytes += s->bytes_read;
        c->counters.guesses_expired += s->origin == SL_SLOT_GUESS;
    }
    *map_of(c, s->layer, s->expert) = SL_SLOT_NONE;
    sl_residency_set(&c->residency, s->layer, s->expert, SL_RESIDENCY_DISK);
    sl_cacheload_forget(c, slot);
    s->parts = s->unchecked = 0;
    s->state = s->n_flying ? SL_SLOT_DRAINING : SL_SLOT_EMPTY;
    if (s->state == SL_SLOT_EMPTY)
        sl_slots_put_free(&c->slots, slot);
}

/* Read, perhaps for nothing. */
static void count_bytes(struct sl_cache *c, struct sl_slot *s, uint64_t bytes)
{
    struct sl_cache_counters *n = &c->counters;

    *(s->origin == SL_SLOT_GUESS  ? &n->guess_bytes
      : s->origin == SL_SLOT_FILL ? &n->fill_bytes
                                  : &n->demand_bytes) += bytes;
    s->bytes_read += bytes;
    if (s->was_used)
        n->used_bytes += bytes;
    else if (s->state == SL_SLOT_DRAINING)
        n->wasted_bytes += bytes;
}

static void fail(struct sl_cache *c, uint32_t slot, int error)
{
    struct sl_slot *s = &c->slots.slots[slot];

    c->counters.n_failed++;
    if (s->origin == SL_SLOT_FILL)
        c->is_filling = false; /* or it would be tried for ever */
    if (s->is_pinned)
        s->error = error; /* update tells the ticket */
    else
        sl_cacheload_empty(c, slot);
}

/* What was read ahead may have failed in a disk's bad moment that is over when a ticket asks
 * for it: as many slices as were in flight then are read again, as demands. */
static bool read_again(struct sl_cache *c, struct sl_slot *s, const struct sl_read *read)
{
    if (s->n_again == 0)
        return false;
    s->n_again--;
    s->n_flying++;
    sl_reader_submit(c->opts.reader, read, 1);
    return true;
}

static void landed(struct sl_cache *c, const struct sl_read_done *done)
{
    uint32_t slot = (uint32_t)done->tag, slice = (uint32_t)(done->tag >> 32), part;
    struct sl_slot *s = &c->slots.slots[slot];
    struct sl_read read;

    assert(s->n_flying > 0);
    s->n_flying--;
    sl_cacheload_tell(c, &(struct sl_cache_event){ .kind = SL_CACHE_EVENT_REAPED, .layer = s->layer,
                                      .expert = s->expert, .value = done->tag,
                                      .n = done->error != 0 });
    part = slice_read(c, slot, slice, &read);
    if (!done->error)
        count_bytes(c, s, read.bytes);
    if (s->state == SL_SLOT_DRAINING && s->n_flying == 0) {
        s->state = SL_SLOT_EMPTY;
        sl_slots_put_free(&c->slots, slot);
    }
    if (s->state != SL_SLOT_LOADING || s->error)
        return;
    if (done->error) {
        if (!read_again(c, s, &read))
            fail(c, slot, done->error);
        return;
    }
    if (--s->n_left[part] > 0)
        return;
    s->parts |= (uint8_t)(1u << part);
    if (c->opts.check.run)
        s->unchecked |= (uint8_t)(1u << part);
    sl_cacheload_event(c, SL_CACHE_EVENT_LANDED, s->layer, s->expert, s->parts);
    if (s->parts == SL_PARTS_ALL) {
        s->state = SL_SLOT_READY;
        sl_cacheload_show(c, slot);
    }
}

/* ---- submitting ---- */

struct batch {
    struct sl_read reads[BATCH];
    uint32_t n, room;
};

/* Put a slot's next slices into the batch, up to the end of last_part. */
static void add_slices(struct sl_cache *c, struct batch *b, uint32_t slot, uint32_t last_part,
                       uint32_t n_most)
{
    struct sl_slot *s = &c->slots.slots[slot];

    while (!s->error && s->next_slice < s->n_slices && b->n < b->room && n_most > 0) {
        if (slice_read(c, slot, s->next_slice, &b->reads[b->n]) > last_part)
            return;
        b->n++;
        s->next_slice++;
        s->n_flying++;
        n_most--;
    }
}

/* Demands: slots for tickets that have none yet, then all gates and ups, then downs.
 * False if some slice could not be submitted yet. */
static bool add_demands(struct sl_cache *c, struct batch *b)
{
    bool is_all = true;

    for (uint32_t i = 0; i < c->n_tickets; i++) {
        struct sl_ticket *t = &c->tickets[i];
        uint32_t slot;

        if (!t->is_open || t->error || t->slot != SL_SLOT_NONE)
            continue;
        slot = sl_cachepick_slot(c, t->layer, FLT_MAX);
        if (slot == SL_SLOT_NONE) {
            is_all = false;
            break;
        }
        begin(c, slot, t->layer, t->expert, SL_SLOT_DEMAND);
        c->slots.slots[slot].is_pinned = true;
        c->slots.slots[slot].was_used = true;
        sl_cacheload_show(c, slot);
        t->slot = slot;
    }
    for (uint32_t last_part = SL_PART_UP; last_part <= SL_PART_DOWN; last_part++)
        for (uint32_t i = 0; i < c->n_tickets; i++)
            if (c->tickets[i].is_open && c->tickets[i].slot != SL_SLOT_NONE) {
                const struct sl_slot *s = &c->slots.slots[c->tickets[i].slot];

                add_slices(c, b, c->tickets[i].slot, last_part, UINT32_MAX);
                is_all &= last_part < SL_PART_DOWN || s->error || s->next_slice == s->n_slices;
            }
    return is_all;
}

static float guess_p_min(const struct sl_cache *c)
{
    return GUESS_P_IDLE + (GUESS_P_BUSY - GUESS_P_IDLE) * c->behind_share;
}

void sl_cacheload_reached(struct sl_cache *c)
{
    struct sl_guess g;
    bool is_behind =
        c->ahead[SL_CACHE_AHEAD_GUESS] != SL_SLOT_NONE ||
        sl_prefetch_best(c->prefetch, c->layer, guess_p_min(c), &g);

    c->behind_share += ((is_behind ? 1.0f : 0.0f) - c->behind_share) / BEHIND_MEMORY;
}

/* Begin reading the best guess there is room for. False: there is none. */
static bool begin_guess(struct sl_cache *c)
{
    struct sl_guess g;

    while (sl_prefetch_best(c->prefetch, c->layer, guess_p_min(c), &g)) {
        uint32_t slot = SL_SLOT_NONE;

        sl_prefetch_drop(c->prefetch, g.layer, g.expert);
        if (sl_slots_find(&c->slots, g.layer, g.expert) == SL_SLOT_NONE)
            slot = sl_cachepick_slot(c, g.layer,
                             sl_evict_guess_value(c->evict, g.layer, g.expert, g.p));
        if (slot == SL_SLOT_NONE)
            continue;
        begin(c, slot, g.layer, g.expert, SL_SLOT_GUESS);
        c->ahead[SL_CACHE_AHEAD_GUESS] = slot;
        return true;
    }
    return false;
}

/* Begin reading something to fill the cache with. False: there is nothing. In a step that
 * wants most of a layer anyway, every slot is spoken for and nothing is swapped. */
static bool begin_fill(struct sl_cache *c)
{
    bool is_swapping = c->opts.guess && c->opts.policy == SL_EVICT_DEFAULT &&
                       c->n_asked <= c->slots.n_experts / 2;
    uint32_t layer, expert, slot;

    if (!c->is_filling || !sl_cachepick_fill(c, is_swapping, &layer, &expert, &slot))
        return false;
    begin(c, slot, layer, expert, SL_SLOT_FILL);
    sl_cachepick_note(c, layer);
    c->ahead[SL_CACHE_AHEAD_FILL] = slot;
    return true;
}

/* The slot to read ahead into next: of a guess; with nothing in flight, since there is no
 * hurry and a demand may come, of a filling; or NONE. */
static uint32_t ahead_slot(struct sl_cache *c, uint32_t n_flying)
{
    const uint32_t *ahead = c->ahead;

    if (ahead[SL_CACHE_AHEAD_GUESS] != SL_SLOT_NONE || (c->opts.guess && begin_guess(c)))
        return ahead[SL_CACHE_AHEAD_GUESS];
    if (n_flying == 0 && (ahead[SL_CACHE_AHEAD_FILL] != SL_SLOT_NONE || begin_fill(c)))
        return ahead[SL_CACHE_AHEAD_FILL];
    return SL_SLOT_NONE;
}

void sl_cacheload_pump(struct sl_cache *c)
{
    struct batch b = { .n = 0 };
    bool is_all;

    b.room = sl_reader_room(c->opts.reader);
    b.room = b.room < BATCH ? b.room : BATCH;
    is_all = add_demands(c, &b);
    while (is_all && b.n < b.room) {
        uint32_t n_flying = sl_reader_n_flying(c->opts.reader) + b.n;
        uint32_t slot =
            n_flying < SL_CACHE_FLYING_IDLE ? ahead_slot(c, n_flying) : SL_SLOT_NONE;

        if (slot == SL_SLOT_NONE)
            break;
        add_slices(c, &b, slot, SL_PART_DOWN, 1);
        if (c->slots.slots[slot].next_slice == c->slots.slots[slot].n_slices)
            sl_cacheload_forget(c, slot);
    }
    if (b.n && sl_reader_n_flying(c->opts.reader) == 0)
        c->read_start_ns = sl_clock_ns();
    if (b.n)
        sl_reader_submit(c->opts.reader, b.reads, b.n);
}
