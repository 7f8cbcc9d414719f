/*
 * Each read is found again by its middle, which lies in the part it belongs to as long
 * as stored parts are longer than the alignment. A reading is told from a later one of
 * the same expert by its generation, because reads of a slot that was given up still land.
 */
#include "cacheworld.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "experts/slots.h"

#define COLS 8u
#define ROW_BYTES (COLS * 4u)
#define MATRICES 1000u /* files from this number: decoded matrices */
#define FLYING_AHEAD 2u

#define CHECK(cond, ...)                                                       \
    do {                                                                       \
        if (!(cond))                                                           \
            fail_msg(__VA_ARGS__);                                             \
    } while (0)

static uint64_t range_bytes(const struct world *w, const struct sl_part_at *at)
{
    uint64_t align = w->opts.alignment;

    return sl_align_up(at->off + at->bytes, align) - at->off / align * align;
}

static struct sl_ticket *open_ticket(struct world *w, uint32_t layer, uint32_t expert)
{
    for (uint32_t i = 0; i < w->n_tickets; i++)
        if (w->tickets[i].is_open && w->tickets[i].layer == layer &&
            w->tickets[i].expert == expert)
            return &w->tickets[i];
    return NULL;
}

static void owner_of(const struct world *w, const struct sl_read *read, uint32_t *ret_layer,
                     uint32_t *ret_expert, uint32_t *ret_part)
{
    uint64_t middle = read->off + read->bytes / 2;

    for (uint32_t l = 0; l < w->opts.n_layers; l++)
        for (uint32_t e = 0; w->opts.layers[l].gate_bytes && e < w->opts.n_experts; e++)
            for (uint32_t p = 0; p < SL_PART_COUNT; p++) {
                const struct sl_part_at *at = &w->parts[l][e][p];

                if (at->file != read->file || middle < at->off || middle >= at->off + at->bytes)
                    continue;
                *ret_layer = l;
                *ret_expert = e;
                *ret_part = p;
            }
}

static bool is_submitted(const struct world *w, uint32_t layer, uint32_t expert, uint32_t part)
{
    return w->experts[layer][expert].submitted[part] ==
           range_bytes(w, &w->parts[layer][expert][part]);
}

/* A demand's gates and ups go before all downs. */
static void check_order(struct world *w, uint32_t part)
{
    for (uint32_t i = 0; i < w->n_tickets && part == SL_PART_DOWN; i++) {
        const struct sl_ticket *t = &w->tickets[i];
        const struct world_expert *x = &w->experts[t->layer][t->expert];

        CHECK(!t->is_open || !x->is_held || x->has_failed ||
                  (is_submitted(w, t->layer, t->expert, SL_PART_GATE) &&
                   is_submitted(w, t->layer, t->expert, SL_PART_UP)),
              "a down was submitted before gate and up of expert %u", t->expert);
    }
}

/* Reading ahead: only when no demand waits, and little is in flight. */
static void check_ahead(struct world *w, uint32_t n_before)
{
    CHECK(n_before < FLYING_AHEAD, "reads ahead with %u in flight", n_before);
    for (uint32_t i = 0; i < w->n_tickets; i++) {
        const struct sl_ticket *t = &w->tickets[i];
        const struct world_expert *x = &w->experts[t->layer][t->expert];

        if (!t->is_open || t->error || x->has_failed)
            continue;
        CHECK(x->is_held, "reads ahead while expert %u waits for a slot", t->expert);
        for (uint32_t p = 0; p < SL_PART_COUNT; p++)
            CHECK(is_submitted(w, t->layer, t->expert, p),
                  "reads ahead while part %u of expert %u waits", p, t->expert);
    }
}

static void on_submit(void *arg, const struct sl_read *reads, uint32_t n)
{
    struct world *w = arg;
    uint32_t n_before = sl_reader_n_flying(&w->reader) - n;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t layer = UINT32_MAX, expert = 0, part = 0;
        struct world_expert *x;

        owner_of(w, &reads[i], &layer, &expert, &part);
        CHECK(layer != UINT32_MAX, "a read of nothing at %llu",
              (unsigned long long)reads[i].off);
        x = &w->experts[layer][expert];
        CHECK(x->is_held && !x->has_failed, "a read for an expert that is not being read");
        x->submitted[part] += reads[i].bytes;
        if (x->n_repeats)
            x->n_repeats--; /* at once */
        else if (open_ticket(w, layer, expert))
            check_order(w, part);
        else
            check_ahead(w, n_before + i);
        for (uint32_t k = 0; k < w->n_flights; k++)
            CHECK(w->flights[k].tag != reads[i].tag, "a tag flies twice");
        w->flights[w->n_flights++] = (struct world_flight){
            .tag = reads[i].tag, .layer = layer, .expert = expert,
            .generation = x->generation, .origin = x->origin, .part = part,
            .bytes = reads[i].bytes };
    }
}

static void count_landing(struct world *w, const struct world_flight *f)
{
    struct world_expert *x = &w->experts[f->layer][f->expert];
    struct sl_cache_counters *n = &w->want;

    *(f->origin == SL_SLOT_DEMAND  ? &n->demand_bytes
      : f->origin == SL_SLOT_GUESS ? &n->guess_bytes
                                   : &n->fill_bytes) += f->bytes;
    if (f->is_dead)
        *(f->was_used ? &n->used_bytes : &n->wasted_bytes) += f->bytes;
    else if (x->is_used)
        n->used_bytes += f->bytes;
    x->landed += f->is_dead ? 0 : f->bytes;
}

static void on_reaped(struct world *w, const struct sl_cache_event *event)
{
    uint32_t i = 0;
    struct world_expert *x = &w->experts[event->layer][event->expert];
    struct world_flight f;

    while (i < w->n_flights && w->flights[i].tag != event->value)
        i++;
    CHECK(i < w->n_flights, "reaped what did not fly");
    f = w->flights[i];
    w->flights[i] = w->flights[--w->n_flights];
    CHECK(f.layer == event->layer && f.expert == event->expert, "reaped under another name");
    if (event->n == 0) {
        count_landing(w, &f);
    } else if (!f.is_dead && !x->has_failed && x->n_again) {
        x->n_again--;
        x->n_repeats++;
        x->submitted[f.part] -= f.bytes;
    } else if (!f.is_dead && !x->has_failed) {
        x->has_failed = true;
        w->want.n_failed++;
    }
}

static void on_request(struct world *w, const struct sl_cache_event *event)
{
    struct world_expert *x = &w->experts[event->layer][event->expert];
    struct sl_cache_counters *n = &w->want;
    bool is_guess = x->is_held && x->origin == SL_SLOT_GUESS && !x->is_used;

    CHECK(event->value == (x->is_held ? x->parts : 0), "another number of parts in memory");
    n->requests++;
    if (!x->is_held)
        n->misses++;
    else if (x->parts == SL_PARTS_ALL)
        *(is_guess ? &n->covered : &n->hits) += 1;
    else
        n->covered_late++;
    n->guesses_used += is_guess;
    if (x->is_held && !x->is_used)
        n->used_bytes += x->landed;
    x->is_used = x->is_held;
    x->n_again = 0;
    for (uint32_t i = 0; i < w->n_flights && x->is_held; i++)
        x->n_again += w->flights[i].layer == event->layer &&
                      w->flights[i].expert == event->expert && !w->flights[i].is_dead;
}

static void on_read(struct world *w, const struct sl_cache_event *event)
{
    struct world_expert *x = &w->experts[event->layer][event->expert];

    CHECK(!x->is_held, "an expert is read that is there");
    *x = (struct world_expert){ .is_held = true, .is_used = event->value == SL_SLOT_DEMAND,
                                .origin = (uint32_t)event->value,
                                .generation = x->generation + 1 };
    w->want.guesses += event->value == SL_SLOT_GUESS;
}

static void on_evict(struct world *w, const struct sl_cache_event *event)
{
    struct world_expert *x = &w->experts[event->layer][event->expert];
    const struct sl_ticket *t = open_ticket(w, event->layer, event->expert);

    CHECK(x->is_held, "what is not there was evicted");
    CHECK(!t || t->slot == SL_SLOT_NONE, "what a ticket holds was evicted");
    CHECK(event->value == !x->is_used, "used or not?");
    if (!x->is_used) {
        w->want.wasted_bytes += x->landed;
        w->want.guesses_expired += x->origin == SL_SLOT_GUESS;
    }
    for (uint32_t i = 0; i < w->n_flights; i++) {
        struct world_flight *f = &w->flights[i];

        if (f->layer == event->layer && f->expert == event->expert &&
            f->generation == x->generation) {
            f->is_dead = true;
            f->was_used = x->is_used;
        }
    }
    x->is_held = false;
}

static void on_event(void *arg, const struct sl_cache_event *event)
{
    struct world *w = arg;
    uint64_t value = event->kind == SL_CACHE_EVENT_WAITED ? 0 : event->value;
    uint64_t word = (uint64_t)event->kind << 56 ^ (uint64_t)event->layer << 48 ^
                    (uint64_t)event->expert << 40 ^ event->n ^ value * 0x9E3779B97F4A7C15u;

    w->digest = (w->digest ^ word) * 0xD6E8FEB86659FD93u;
    w->digest ^= w->digest >> 32;
    switch (event->kind) {
    case SL_CACHE_EVENT_REQUEST:
        on_request(w, event);
        break;
    case SL_CACHE_EVENT_READ:
        on_read(w, event);
        break;
    case SL_CACHE_EVENT_REAPED:
        on_reaped(w, event);
        break;
    case SL_CACHE_EVENT_LANDED:
        w->experts[event->layer][event->expert].parts = (uint32_t)event->value;
        break;
    case SL_CACHE_EVENT_EVICT:
        on_evict(w, event);
        break;
    case SL_CACHE_EVENT_WAITED:
        w->n_waited++;
        break;
    default:
        break;
    }
}

static uint32_t matrix_file(uint32_t layer, uint32_t expert, uint32_t part)
{
    return MATRICES + (layer * WORLD_EXPERTS_MAX + expert) * SL_PART_COUNT + part;
}

static int check_part(void *arg, uint32_t layer, uint32_t expert, enum sl_part part,
                      const uint8_t *stored, uint8_t *ret_matrix)
{
    struct world *w = arg;
    const struct sl_part_at *at = &w->parts[layer][expert][part];
    uint64_t bytes = sl_tensor_mat_bytes(&w->layers[layer].mats[part]);

    CHECK(fake_is_same(at->file, at->off, stored, at->bytes), "other bytes are stored");
    if (w->spoil_check > 0 && w->spoil_check-- > 0)
        return -EBADMSG;
    if (w->opts.is_encoded) {
        CHECK(ret_matrix < stored && ret_matrix + bytes <= stored + at->bytes,
              "decoding overtakes what is to be decoded");
        fake_bytes(matrix_file(layer, expert, part), 0, ret_matrix, bytes);
    } else {
        CHECK(ret_matrix == stored, "what is not encoded lies elsewhere");
    }
    return 0;
}

int world_check(struct world *w, struct sl_ticket *t)
{
    int r = 0;

    for (uint32_t p = 0; p < SL_PART_COUNT; p++) {
        int one;

        if (!(t->unchecked & 1u << p))
            continue;
        one = sl_cache_check(w->cache, t, (enum sl_part)p);
        sl_cache_checked(w->cache, t, (enum sl_part)p, one);
        CHECK(!(t->unchecked & 1u << p) && (one == 0 || t->error), "a check was not noted");
        r = r ? r : one;
    }
    return r;
}

static void compare_views(struct world *w, const struct sl_ticket *t)
{
    for (uint32_t p = 0; p < SL_PART_COUNT; p++) {
        const struct sl_part_at *at = &w->parts[t->layer][t->expert][p];
        uint64_t bytes = sl_tensor_mat_bytes(&t->mats[p]);
        const uint8_t *data = t->mats[p].data;

        if (!(t->parts & ~t->unchecked & 1u << p) || t->error == -EBADMSG)
            continue;
        CHECK(w->opts.is_encoded
                  ? fake_is_same(matrix_file(t->layer, t->expert, p), 0, data, bytes)
                  : fake_is_same(at->file, at->off, data, bytes),
              "layer %u, expert %u, part %u: other bytes than the file's", t->layer, t->expert,
              p);
    }
}

static struct sl_tensor matrix(uint32_t bytes, uint32_t n)
{
    return (struct sl_tensor){ .dtype = SL_DTYPE_F32, .n_cols = COLS, .n_rows = bytes / ROW_BYTES,
                               .n_mats = n, .row_bytes = ROW_BYTES };
}

/* As in a GGUF file, stack by stack and not aligned; as in a pack, expert by expert. */
static void lay_out(struct world *w)
{
    uint64_t off[2] = { 4096, 4096 };

    for (uint32_t l = 0; l < w->opts.n_layers; l++) {
        const struct world_layer *layer = &w->opts.layers[l];
        uint32_t file = l % 2;

        if (!layer->gate_bytes)
            continue;
        off[file] += w->opts.is_encoded ? 0 : 96;
        for (uint32_t i = 0; i < w->opts.n_experts * SL_PART_COUNT; i++) {
            uint32_t p = w->opts.is_encoded ? i % SL_PART_COUNT : i / w->opts.n_experts;
            uint32_t e = w->opts.is_encoded ? i / SL_PART_COUNT : i % w->opts.n_experts;
            uint32_t bytes = p == SL_PART_DOWN ? layer->down_bytes : layer->gate_bytes;

            if (w->opts.is_encoded)
                off[file] = sl_align_up(off[file], SL_READER_ALIGN);
            w->parts[l][e][p] = (struct sl_part_at){
                .off = off[file], .bytes = w->opts.is_encoded ? bytes - bytes / 10 : bytes,
                .file = file };
            off[file] += w->parts[l][e][p].bytes;
        }
        w->layers[l].parts = w->parts[l][0];
        w->layers[l].mats[SL_PART_GATE] = matrix(layer->gate_bytes, w->opts.n_experts);
        w->layers[l].mats[SL_PART_UP] = w->layers[l].mats[SL_PART_GATE];
        w->layers[l].mats[SL_PART_DOWN] = matrix(layer->down_bytes, w->opts.n_experts);
    }
}

void world_open(struct world *w, const struct world_opts *opts)
{
    struct sl_cache_opts cache_opts = { .reader = &w->reader, .policy = opts->policy,
                                        .n_used = opts->n_used, .guess = opts->guess,
                                        .place = opts->place, .place_arg = opts->place_arg };

    memset(w, 0, sizeof(*w));
    w->opts = *opts;
    fake_open(&w->reader, opts->alignment, opts->depth);
    w->reader.on_submit = on_submit;
    w->reader.arg = w;
    /* parts of an expert lie side by side in w->parts[layer] */
    assert_int_equal(sizeof(w->parts[0][0]), sizeof(struct sl_part_at) * SL_PART_COUNT);
    lay_out(w);
    if (opts->is_encoded || opts->is_checked)
        cache_opts.check = (struct sl_part_check){ check_part, w };
    assert_int_equal(sl_cache_new_streaming(&w->cache, w->layers, opts->n_layers, &cache_opts), 0);
    sl_cache_set_event_fn(w->cache, on_event, w);
}

void world_close(struct world *w)
{
    world_release_all(w);
    world_verify(w);
    w->reader.on_wait = NULL;
    sl_cache_free(w->cache);
    assert_int_equal(sl_reader_n_flying(&w->reader), 0);
    assert_int_equal(w->reader.n_idle_waits, 0);
    assert_int_equal(w->reader.n_strays, 0);
    for (uint32_t i = 0; i < FAKE_REGIONS_MAX; i++)
        assert_null(w->reader.regions[i].base);
}

int world_set_budget(struct world *w, uint64_t bytes)
{
    int r = sl_cache_set_budget(w->cache, bytes);

    if (r == 0)
        w->budget = bytes;
    world_verify(w);
    return r;
}

uint64_t world_least(const struct world *w)
{
    return world_budget_of(w, w->opts.n_used + 2);
}

uint64_t world_budget_of(const struct world *w, uint32_t n_slots)
{
    return n_slots * sl_cache_slot_bytes_max(w->cache);
}

void world_request(struct world *w, uint32_t layer, const uint32_t *experts, uint32_t n)
{
    CHECK(!world_has_open(w), "a request while tickets are open");
    memset(w->tickets, 0, sizeof(w->tickets));
    w->n_tickets = n;
    sl_cache_request(w->cache, layer, experts, n, w->tickets);
    for (uint32_t i = 0; i < n; i++)
        CHECK(w->tickets[i].is_open && !w->tickets[i].error &&
                  w->tickets[i].expert == experts[i] && w->tickets[i].layer == layer,
              "not the ticket that was asked for");
    world_verify(w);
}

int world_wait(struct world *w)
{
    uint32_t parts[WORLD_EXPERTS_MAX], n_waited = w->n_waited;
    bool has_progress = false, is_missing = false, is_whole = false;
    int r, error = 0;

    for (uint32_t i = 0; i < w->n_tickets; i++)
        parts[i] = w->tickets[i].parts;
    r = sl_cache_wait(w->cache);
    for (uint32_t i = 0; i < w->n_tickets; i++) {
        const struct sl_ticket *t = &w->tickets[i];

        if (!t->is_open)
            continue;
        error = error ? error : t->error;
        has_progress |= t->parts != parts[i];
        is_missing |= !t->error && !world_is_whole(t);
        is_whole |= world_is_whole(t);
    }
    CHECK(r == error, "wait returned %d, the tickets say %d", r, error);
    CHECK(r < 0 || has_progress || !is_missing || is_whole, "a wait brought nothing");
    CHECK(w->n_waited == n_waited + 1, "a wait without an end");
    world_verify(w);
    return r;
}

void world_release(struct world *w, struct sl_ticket *t)
{
    compare_views(w, t);
    sl_cache_release(w->cache, t);
    CHECK(!t->is_open, "a released ticket is open");
    world_verify(w);
}

void world_release_all(struct world *w)
{
    for (uint32_t i = 0; i < w->n_tickets; i++)
        if (w->tickets[i].is_open)
            world_release(w, &w->tickets[i]);
}

int world_use(struct world *w, uint32_t layer, const uint32_t *experts, uint32_t n)
{
    int r = 0;

    world_request(w, layer, experts, n);
    while (world_has_open(w) && r == 0) {
        r = world_wait(w);
        for (uint32_t i = 0; i < n && r == 0; i++)
            if (world_is_whole(&w->tickets[i])) {
                r = world_check(w, &w->tickets[i]);
                world_release(w, &w->tickets[i]);
            }
    }
    world_release_all(w);
    return r;
}

void world_hint(struct world *w, uint32_t layer, uint32_t expert, float p)
{
    sl_cache_hint(w->cache, &(struct sl_guess){ layer, expert, p }, 1);
    world_verify(w);
}

bool world_has_open(const struct world *w)
{
    bool has_open = false;

    for (uint32_t i = 0; i < w->n_tickets; i++)
        has_open |= w->tickets[i].is_open;
    return has_open;
}

bool world_is_whole(const struct sl_ticket *t)
{
    return t->is_open && !t->error && t->parts == SL_PARTS_ALL;
}

bool world_is_ready(const struct world *w, uint32_t layer, uint32_t expert)
{
    const struct world_expert *x = &w->experts[layer][expert];

    return x->is_held && x->parts == SL_PARTS_ALL;
}

uint32_t world_n_ready(const struct world *w)
{
    return (uint32_t)world_counters(w).n_ready;
}

struct sl_cache_counters world_counters(const struct world *w)
{
    struct sl_cache_counters counters;

    sl_cache_get_counters(w->cache, &counters);
    return counters;
}

#define SAME(field)                                                            \
    CHECK(have.field == w->want.field, #field ": %llu, expected %llu",         \
          (unsigned long long)have.field, (unsigned long long)w->want.field)

void world_verify(struct world *w)
{
    struct sl_cache_counters have = world_counters(w);
    const char *broken = sl_cache_verify(w->cache);
    uint64_t unused = 0, n_ready = 0, n_loading = 0;

    CHECK(!broken, "invariant %s", broken);
    SAME(requests);
    SAME(hits);
    SAME(covered);
    SAME(covered_late);
    SAME(misses);
    SAME(guesses);
    SAME(guesses_used);
    SAME(guesses_expired);
    SAME(demand_bytes);
    SAME(guess_bytes);
    SAME(fill_bytes);
    SAME(used_bytes);
    SAME(wasted_bytes);
    SAME(n_failed);
    for (uint32_t l = 0; l < w->opts.n_layers; l++)
        for (uint32_t e = 0; e < w->opts.n_experts; e++) {
            const struct world_expert *x = &w->experts[l][e];

            unused += x->is_held && !x->is_used ? x->landed : 0;
            n_ready += x->is_held && x->parts == SL_PARTS_ALL;
            n_loading += x->is_held && x->parts != SL_PARTS_ALL;
        }
    CHECK(have.requests == have.hits + have.covered + have.covered_late + have.misses,
          "requests are not the sum of their kinds");
    CHECK(have.used_bytes + have.wasted_bytes + unused ==
              have.demand_bytes + have.guess_bytes + have.fill_bytes,
          "used, wasted and unused bytes are not those that were read");
    CHECK(have.n_ready == n_ready && have.n_loading == n_loading, "slots: %llu ready, %llu "
          "loading, expected %llu and %llu", (unsigned long long)have.n_ready,
          (unsigned long long)have.n_loading, (unsigned long long)n_ready,
          (unsigned long long)n_loading);
    CHECK(have.n_ready + have.n_loading <= have.n_slots, "more experts than slots");
    CHECK(have.slot_bytes <= w->budget + have.n_regions * SL_READER_ALIGN_MAX,
          "%llu bytes of slots", (unsigned long long)have.slot_bytes);
    CHECK(w->reader.n_strays == 0, "a read to where none may go");
    CHECK(w->reader.n_idle_waits == 0, "a wait with nothing in flight");
}
