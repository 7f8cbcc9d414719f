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
 * released; until then the parts that did land may be looked at.
 *
 * A slot of origin DEMAND has a ticket; its slices are submitted at once, gates and ups
 * of all tickets before any down. A slot of origin GUESS or FILL is read slice by slice
 * and only while hardly anything else is in flight, so that a demand never waits for
 * more than FLYING_IDLE slices of guesses; a guess that comes true becomes a demand and
 * goes on where it stands; one that does not is given up.
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
 *  6. guess_slot is NONE or LOADING, not pinned, with slices left to submit; no other
 *     slot that is not pinned has slices left.
 *  7. A slot with an error is LOADING and pinned.
 */
#include "experts/cache.h"

#include <assert.h>
#include <errno.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "experts/prefetch.h"
#include "experts/slots.h"

/* Large enough for the disk's full speed, small enough that gate and up come early. */
#define SLICE_BYTES (1u << 20)
/* With fewer reads in flight than this the disk counts as idle. */
#define FLYING_IDLE 2u
/* Guesses less likely than this are not read. */
#define GUESS_P_MIN 0.50f
#define BATCH 64u
/* Of experts that a layer will hardly choose: more than 0, which means not guessed. */
#define HINT_P_MIN 0.001f

struct sl_cache {
    /* set once */
    uint32_t n_layers;
    struct sl_cache_layer *layers; /* [n_layers] */
    bool is_streaming;
    struct sl_cache_opts opts;
    sl_cache_event_fn event_fn;
    void *event_arg;
    /* owned by the leader */
    struct sl_slots slots;
    struct sl_evict *evict;
    struct sl_prefetch *prefetch;
    float *hint_p; /* [n_layers][n_experts] of guesses whose layer has not been asked for */
    struct sl_ticket *tickets; /* of the request at hand, while any of them is open */
    uint32_t n_tickets, n_open_tickets;
    uint32_t layer; /* last asked for */
    uint32_t guess_slot;
    bool is_filling;
    uint64_t use_count;
    uint64_t read_start_ns; /* since when reads are in flight without a break */
    struct sl_cache_counters counters;
};

/* ---- resident ---- */

static int new_common(struct sl_cache **ret_cache, const struct sl_cache_layer *layers,
                      uint32_t n_layers)
{
    struct sl_cache *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->guess_slot = SL_SLOT_NONE;
    c->n_layers = n_layers;
    c->layers = malloc(n_layers * sizeof(*layers));
    if (!c->layers) {
        free(c);
        return -ENOMEM;
    }
    memcpy(c->layers, layers, n_layers * sizeof(*layers));
    *ret_cache = c;
    return 0;
}

int sl_cache_new_resident(struct sl_cache **ret_cache, const struct sl_cache_layer *layers,
                          uint32_t n_layers)
{
    return new_common(ret_cache, layers, n_layers);
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
    c->hint_p = calloc((size_t)n_layers * c->slots.n_experts, sizeof(*c->hint_p));
    if (!c->hint_p) {
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

static void tell(struct sl_cache *c, const struct sl_cache_event *event)
{
    if (c->event_fn)
        c->event_fn(c->event_arg, event);
}

static void event(struct sl_cache *c, enum sl_cache_event_kind kind, uint32_t layer,
                  uint32_t expert, uint64_t value)
{
    tell(c, &(struct sl_cache_event){
                .kind = kind, .layer = layer, .expert = expert, .value = value });
}

static void landed(struct sl_cache *c, const struct sl_read_done *done);

/* Take note of completed reads. */
static uint32_t reap(struct sl_cache *c, bool wait)
{
    struct sl_read_done done[BATCH];
    uint32_t n = sl_reader_reap(c->opts.reader, wait, done, BATCH);

    event(c, SL_CACHE_EVENT_REAP, 0, 0, n);
    for (uint32_t i = 0; i < n; i++)
        landed(c, &done[i]);
    if (n && sl_reader_n_flying(c->opts.reader) == 0)
        c->counters.read_ns += sl_clock_ns() - c->read_start_ns;
    return n;
}

void sl_cache_free(struct sl_cache *c)
{
    if (!c)
        return;
    if (c->is_streaming) {
        while (sl_reader_n_flying(c->opts.reader))
            (void)reap(c, true);
        sl_prefetch_free(c->prefetch);
        sl_evict_free(c->evict);
        free(c->hint_p);
        sl_slots_done(&c->slots);
    }
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

/* ---- slots: transitions ---- */

static uint32_t *map_of(struct sl_cache *c, uint32_t layer, uint32_t expert)
{
    return &c->slots.map[(uint64_t)layer * c->slots.n_experts + expert];
}

static const struct sl_part_at *part_at(const struct sl_cache *c, uint32_t layer, uint32_t expert,
                                        uint32_t part)
{
    return &c->layers[layer].parts[(uint64_t)expert * SL_PART_COUNT + part];
}

/* The aligned range of a part in its file, and where in the slot it goes. */
struct range {
    uint64_t off, bytes;
    uint8_t *buf;    /* of the range */
    uint8_t *stored; /* of the part's first byte */
    uint8_t *matrix; /* where it is used */
    uint32_t n_slices;
};

static struct range range_of(const struct sl_cache *c, uint32_t slot, uint32_t layer,
                             uint32_t expert, uint32_t part)
{
    const struct sl_slot_shape *shape = &c->slots.shapes[layer];
    const struct sl_part_at *at = part_at(c, layer, expert, part);
    uint64_t align = sl_reader_alignment(c->opts.reader);
    bool is_encoded = at->bytes != sl_tensor_mat_bytes(&c->layers[layer].mats[part]);
    uint8_t *room = sl_slots_base(&c->slots, slot) + shape->part_off[part];
    struct range r = { .off = at->off / align * align };

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
    struct range r = range_of(c, slot, s->layer, s->expert, 0);
    uint64_t step;

    while (i >= r.n_slices) {
        i -= r.n_slices;
        r = range_of(c, slot, s->layer, s->expert, ++part);
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
        s->n_left[p] = (uint16_t)range_of(c, slot, layer, expert, p).n_slices;
        s->n_slices += s->n_left[p];
    }
    *map_of(c, layer, expert) = slot;
    sl_prefetch_drop(c->prefetch, layer, expert);
    c->counters.guesses += origin == SL_SLOT_GUESS;
    event(c, SL_CACHE_EVENT_READ, layer, expert, origin);
}

/* The slot's expert is forgotten; reads in flight are waited for in DRAINING. */
static void empty(struct sl_cache *c, uint32_t slot)
{
    struct sl_slot *s = &c->slots.slots[slot];

    assert(!s->is_pinned && (s->state == SL_SLOT_LOADING || s->state == SL_SLOT_READY));
    event(c, SL_CACHE_EVENT_EVICT, s->layer, s->expert, !s->was_used);
    if (!s->was_used) {
        c->counters.wasted_bytes += s->bytes_read;
        c->counters.guesses_expired += s->origin == SL_SLOT_GUESS;
    }
    *map_of(c, s->layer, s->expert) = SL_SLOT_NONE;
    if (c->guess_slot == slot)
        c->guess_slot = SL_SLOT_NONE;
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
        empty(c, slot);
}

static void landed(struct sl_cache *c, const struct sl_read_done *done)
{
    uint32_t slot = (uint32_t)done->tag, slice = (uint32_t)(done->tag >> 32), part;
    struct sl_slot *s = &c->slots.slots[slot];
    struct sl_read read;

    assert(s->n_flying > 0);
    s->n_flying--;
    tell(c, &(struct sl_cache_event){ .kind = SL_CACHE_EVENT_REAPED, .layer = s->layer,
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
        fail(c, slot, done->error);
        return;
    }
    if (--s->n_left[part] > 0)
        return;
    s->parts |= (uint8_t)(1u << part);
    if (c->opts.check.run)
        s->unchecked |= (uint8_t)(1u << part);
    event(c, SL_CACHE_EVENT_LANDED, s->layer, s->expert, s->parts);
    if (s->parts == SL_PARTS_ALL)
        s->state = SL_SLOT_READY;
}

/* ---- choosing ---- */

static float slot_worth(const struct sl_cache *c, const struct sl_slot *s)
{
    float hint = c->hint_p[(uint64_t)s->layer * c->slots.n_experts + s->expert];

    /* the guess knows the past too, so it counts even where it says less */
    return hint > 0 ? sl_evict_guess_value(c->evict, s->layer, s->expert, hint)
                    : sl_evict_value(c->evict, s->layer, s->expert);
}

/* The slot of the kind that is worth least, less than limit, or NONE. */
static uint32_t find_victim(const struct sl_cache *c, uint32_t kind, float limit)
{
    uint32_t victim = SL_SLOT_NONE;
    float least = limit;

    for (uint32_t i = 0; i < c->slots.n_slots_max; i++) {
        const struct sl_slot *s = &c->slots.slots[i];
        float value;

        if (s->is_pinned || s->n_flying || s->region == SL_SLOT_NONE ||
            (s->state != SL_SLOT_READY && s->state != SL_SLOT_LOADING) ||
            c->slots.regions[s->region].kind != kind)
            continue;
        value = slot_worth(c, s);
        if (value < least || (victim != SL_SLOT_NONE && value == least &&
                              s->last_use < c->slots.slots[victim].last_use)) {
            victim = i;
            least = value;
        }
    }
    return victim;
}

/* A slot for an expert of the layer: free, or of an expert worth less than limit. */
static uint32_t take_slot(struct sl_cache *c, uint32_t layer, float limit)
{
    uint32_t kind = sl_slots_kind(&c->slots, layer);
    uint32_t slot = sl_slots_take_free(&c->slots, kind);

    if (slot != SL_SLOT_NONE)
        return slot;
    slot = find_victim(c, kind, limit);
    if (slot == SL_SLOT_NONE)
        return slot;
    c->counters.evictions++;
    empty(c, slot);
    return sl_slots_take_free(&c->slots, kind);
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
        slot = take_slot(c, t->layer, FLT_MAX);
        if (slot == SL_SLOT_NONE) {
            is_all = false;
            break;
        }
        begin(c, slot, t->layer, t->expert, SL_SLOT_DEMAND);
        c->slots.slots[slot].is_pinned = true;
        c->slots.slots[slot].was_used = true;
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

/* Begin reading the best guess there is room for. False: there is none. */
static bool begin_guess(struct sl_cache *c)
{
    struct sl_guess g;

    while (sl_prefetch_best(c->prefetch, c->layer, GUESS_P_MIN, &g)) {
        uint32_t slot = SL_SLOT_NONE;

        sl_prefetch_drop(c->prefetch, g.layer, g.expert);
        if (sl_slots_find(&c->slots, g.layer, g.expert) == SL_SLOT_NONE)
            slot = take_slot(c, g.layer,
                             sl_evict_guess_value(c->evict, g.layer, g.expert, g.p));
        if (slot == SL_SLOT_NONE)
            continue;
        begin(c, slot, g.layer, g.expert, SL_SLOT_GUESS);
        c->guess_slot = slot;
        return true;
    }
    return false;
}

/* Begin reading what is worth most of what is missing into a free slot. */
static bool begin_fill(struct sl_cache *c)
{
    uint32_t best_layer = 0, best_expert = 0, slot;
    float best = 0;

    for (uint32_t layer = 0; layer < c->n_layers; layer++) {
        uint32_t n = c->layers[layer].mats[0].n_mats;

        if (n == 0 || !sl_slots_has_free(&c->slots, sl_slots_kind(&c->slots, layer)))
            continue;
        for (uint32_t e = 0; e < n; e++) {
            float value = sl_evict_value(c->evict, layer, e);

            if (value > best && sl_slots_find(&c->slots, layer, e) == SL_SLOT_NONE) {
                best = value;
                best_layer = layer;
                best_expert = e;
            }
        }
    }
    if (best <= 0) {
        c->is_filling = false;
        return false;
    }
    slot = sl_slots_take_free(&c->slots, sl_slots_kind(&c->slots, best_layer));
    begin(c, slot, best_layer, best_expert, SL_SLOT_FILL);
    c->guess_slot = slot;
    return true;
}

/* Start what can be started: demands, and guesses when the disk would be idle. */
static void pump(struct sl_cache *c)
{
    struct batch b = { .n = 0 };
    bool is_all;

    b.room = sl_reader_room(c->opts.reader);
    b.room = b.room < BATCH ? b.room : BATCH;
    is_all = add_demands(c, &b);
    while (is_all && sl_reader_n_flying(c->opts.reader) + b.n < FLYING_IDLE && b.n < b.room) {
        if (c->guess_slot == SL_SLOT_NONE && !(c->opts.guess && begin_guess(c)) &&
            !(c->is_filling && begin_fill(c)))
            break;
        add_slices(c, &b, c->guess_slot, SL_PART_DOWN, 1);
        if (c->slots.slots[c->guess_slot].next_slice == c->slots.slots[c->guess_slot].n_slices)
            c->guess_slot = SL_SLOT_NONE;
    }
    if (b.n && sl_reader_n_flying(c->opts.reader) == 0)
        c->read_start_ns = sl_clock_ns();
    if (b.n)
        sl_reader_submit(c->opts.reader, b.reads, b.n);
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
            t->mats[p].data = range_of(c, t->slot, t->layer, t->expert, p).matrix;
    t->parts = s->parts;
    t->unchecked |= s->unchecked & more;
    if (s->error && !t->error)
        t->error = s->error;
    return more != 0;
}

static void count_request(struct sl_cache *c, const struct sl_slot *s)
{
    struct sl_cache_counters *n = &c->counters;

    n->requests++;
    if (!s)
        n->misses++;
    else if (s->origin == SL_SLOT_GUESS && !s->was_used)
        *(s->state == SL_SLOT_READY ? &n->covered : &n->covered_late) += 1;
    else if (s->state == SL_SLOT_READY)
        n->hits++;
    else
        n->covered_late++; /* being read to fill a slot */
}

/* Pin what the cache has of it. */
static void find_ticket(struct sl_cache *c, struct sl_ticket *t)
{
    uint32_t slot = sl_slots_find(&c->slots, t->layer, t->expert);
    struct sl_slot *s = slot == SL_SLOT_NONE ? NULL : &c->slots.slots[slot];

    count_request(c, s);
    event(c, SL_CACHE_EVENT_REQUEST, t->layer, t->expert, s ? s->parts : 0);
    if (!s)
        return;
    t->slot = slot;
    s->is_pinned = true;
    if (!s->was_used) {
        c->counters.guesses_used += s->origin == SL_SLOT_GUESS;
        c->counters.used_bytes += s->bytes_read;
        s->was_used = true;
    }
    if (c->guess_slot == slot)
        c->guess_slot = SL_SLOT_NONE; /* a demand from now on */
}

void sl_cache_request(struct sl_cache *c, uint32_t layer, const uint32_t *experts, uint32_t n,
                      struct sl_ticket *tickets)
{
    assert(layer < c->n_layers && c->n_open_tickets == 0);
    if (!c->is_streaming) {
        request_resident(&c->layers[layer], layer, experts, n, tickets);
        return;
    }
    tell(c, &(struct sl_cache_event){ .kind = SL_CACHE_EVENT_ASK, .layer = layer, .n = n,
                                      .experts = experts });
    (void)reap(c, false);
    c->tickets = tickets;
    c->n_tickets = c->n_open_tickets = n;
    c->layer = layer;
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
    if (c->guess_slot != SL_SLOT_NONE && c->slots.slots[c->guess_slot].layer == layer &&
        c->slots.slots[c->guess_slot].origin == SL_SLOT_GUESS)
        empty(c, c->guess_slot); /* it did not come true */
    pump(c);
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
    event(c, SL_CACHE_EVENT_WAIT, 0, 0, 0);
    for (;;) {
        bool is_done = is_answered(c, &error);

        pump(c);
        /* nothing flying: all slots are pinned */
        if (is_done || sl_reader_n_flying(c->opts.reader) == 0)
            break;
        if (!start)
            start = sl_clock_ns();
        (void)reap(c, true);
    }
    waited = start ? sl_clock_ns() - start : 0;
    c->counters.stall_ns += waited;
    event(c, SL_CACHE_EVENT_WAITED, 0, 0, waited);
    return error;
}

void sl_cache_poll(struct sl_cache *c)
{
    if (!c->is_streaming)
        return;
    event(c, SL_CACHE_EVENT_POLL, 0, 0, 0);
    if (reap(c, false) || sl_reader_n_flying(c->opts.reader) < FLYING_IDLE)
        pump(c);
}

int sl_cache_check(struct sl_cache *c, struct sl_ticket *t, enum sl_part part)
{
    struct range r = range_of(c, t->slot, t->layer, t->expert, part);

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
        event(c, SL_CACHE_EVENT_RELEASE, t->layer, t->expert, 0);
    t->is_open = false;
    if (!c->is_streaming)
        return;
    if (--c->n_open_tickets == 0)
        c->n_tickets = 0; /* their memory may go, with the session */
    if (t->slot == SL_SLOT_NONE)
        return;
    s = &c->slots.slots[t->slot];
    s->is_pinned = false;
    s->last_use = ++c->use_count;
    /* what is broken, or not wanted any more before it was there, must not stay */
    if (t->error || s->state == SL_SLOT_LOADING)
        empty(c, t->slot); /* also where a slice has failed */
}

void sl_cache_observe(struct sl_cache *c, uint32_t layer, const uint32_t *experts, uint32_t n_used,
                      const int8_t *ranks)
{
    if (!c->is_streaming)
        return;
    tell(c, &(struct sl_cache_event){ .kind = SL_CACHE_EVENT_OBSERVE, .layer = layer,
                                      .n = n_used, .experts = experts, .ranks = ranks });
    sl_evict_observe(c->evict, layer, experts, n_used, ranks);
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
    tell(c, &(struct sl_cache_event){
                .kind = SL_CACHE_EVENT_HINT, .n = n, .guesses = guesses });
    for (uint32_t i = 0; i < n; i = note_guesses(c, guesses, i, n))
        ;
    sl_prefetch_put(c->prefetch, guesses, n);
    pump(c);
}

void sl_cache_fill(struct sl_cache *c)
{
    c->is_filling = c->is_streaming;
    event(c, SL_CACHE_EVENT_FILL, 0, 0, 0);
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
        empty(c, slot);
    while (s->state == SL_SLOT_DRAINING)
        (void)reap(c, true);
}

int sl_cache_set_budget(struct sl_cache *c, uint64_t bytes)
{
    uint32_t n_before = 0, n_after = 0;
    int r;

    assert(c->n_open_tickets == 0);
    event(c, SL_CACHE_EVENT_BUDGET, 0, 0, bytes);
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

const char *sl_cache_verify(const struct sl_cache *c)
{
    uint32_t n_flying = 0;
    const char *broken;

    if (!c->is_streaming)
        return NULL;
    broken = sl_slots_verify(&c->slots);
    if (!broken)
        broken = verify_tickets(c);
    if (broken)
        return broken;
    for (uint32_t i = 0; i < c->slots.n_slots_max; i++) {
        const struct sl_slot *s = &c->slots.slots[i];
        bool is_unfinished = s->state == SL_SLOT_LOADING && s->next_slice < s->n_slices;

        n_flying += s->n_flying;
        if ((c->guess_slot == i) != (is_unfinished && !s->is_pinned))
            return "6: guess_slot is not the one that is read ahead";
        if (s->error && s->state == SL_SLOT_LOADING && !s->is_pinned)
            return "7: a failed slot was kept";
    }
    return n_flying == sl_reader_n_flying(c->opts.reader) ? NULL : "2: reads in flight";
}
