/*
 * The expert cache, every transition of a slot's state as a scene of its own, on a reader
 * where the test says what lands when (fakereader.h). After each call the cache's
 * invariants hold and its counters agree with a second account (cacheworld.h).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cacheworld.h"
#include "experts/slots.h"

#define KIB 1024u
#define BIG (1056 * KIB) /* two slices */

static struct world *w; /* of the test that runs */

/* Three layers of one kind, gate and up of one slice each; four slots. */
static struct world_opts small(void)
{
    return (struct world_opts){
        .n_layers = 4, .n_experts = 8, .n_used = 2, .alignment = 4096, .depth = 64,
        .guess = true,
        .layers = { { 0, 0 }, { 24 * KIB, 16 * KIB }, { 24 * KIB, 16 * KIB },
                    { 24 * KIB, 16 * KIB } } };
}

static void open_with(const struct world_opts *opts, uint32_t n_slots)
{
    world_open(w, opts);
    assert_int_equal(world_set_budget(w, world_budget_of(w, n_slots)), 0);
}

static void open_small(uint32_t n_slots)
{
    struct world_opts opts = small();

    open_with(&opts, n_slots);
}

static void request(uint32_t layer, uint32_t a, uint32_t b)
{
    world_request(w, layer, (const uint32_t[]){ a, b }, 2);
}

static void use(uint32_t layer, uint32_t a, uint32_t b)
{
    assert_int_equal(world_use(w, layer, (const uint32_t[]){ a, b }, 2), 0);
}

/* The n-th pending read lands. */
static void land(uint32_t i, int error)
{
    fake_land(&w->reader, i, error);
    sl_cache_poll(w->cache);
    world_verify(w);
}

static void land_all(void)
{
    while (w->reader.n_pending)
        land(0, 0);
}

static void a_miss_is_read_and_the_next_time_a_hit(void **state)
{
    open_small(4);
    request(1, 3, 5);
    assert_int_equal(world_counters(w).misses, 2);
    assert_int_equal(world_counters(w).n_loading, 2);
    /* gate and up of both, then the downs */
    assert_int_equal(w->reader.n_pending, 6);
    land(0, 0);
    land(0, 0);
    assert_int_equal(w->tickets[0].parts, 0); /* a poll changes no ticket */
    assert_int_equal(world_wait(w), 0);
    assert_int_equal(w->tickets[0].parts, SL_PARTS_GATE_UP);
    assert_int_equal(w->tickets[1].parts, 0);
    assert_int_equal(w->reader.n_waits, 0);
    while (!world_is_whole(&w->tickets[0]) || !world_is_whole(&w->tickets[1]))
        assert_int_equal(world_wait(w), 0);
    assert_true(w->reader.n_waits > 0);
    assert_int_equal(sl_cache_wait(w->cache), 0); /* nothing is missing */
    world_release_all(w);
    request(1, 5, 3);
    assert_true(world_is_whole(&w->tickets[0]) && world_is_whole(&w->tickets[1]));
    assert_int_equal(world_counters(w).hits, 2);
    assert_int_equal(w->reader.n_pending, 0);
    world_close(w);
}

static void a_ticket_given_back_early_drains(void **state)
{
    open_small(4);
    request(1, 0, 1);
    land(0, 0);
    assert_int_equal(world_wait(w), 0);
    world_release_all(w);
    assert_int_equal(world_counters(w).n_loading, 0);
    assert_int_equal(w->reader.n_pending, 5);
    request(1, 0, 1); /* in other slots, while the first two drain */
    assert_int_equal(w->reader.n_pending, 11);
    while (world_has_open(w) && world_wait(w) == 0 && !world_is_whole(&w->tickets[1]))
        ;
    world_release_all(w);
    use(1, 0, 1);
    world_close(w);
}

static void all_slots_may_drain_at_once(void **state)
{
    open_small(4);
    world_request(w, 1, (const uint32_t[]){ 0, 1, 2, 3 }, 4);
    world_release_all(w);
    world_request(w, 1, (const uint32_t[]){ 4, 5, 6, 7 }, 4);
    assert_int_equal(world_counters(w).n_loading, 0);
    while (world_counters(w).n_loading < 4) /* each wait is for what drains */
        assert_int_equal(sl_cache_wait(w->cache), 0);
    world_release_all(w);
    assert_int_equal(world_use(w, 1, (const uint32_t[]){ 4, 5, 6, 7 }, 4), 0);
    world_close(w);
}

static void a_guess_that_comes_true_covers(void **state)
{
    open_small(4);
    world_hint(w, 2, 6, 0.9f);
    assert_int_equal(w->reader.n_pending, 2); /* slice by slice */
    land_all();
    assert_true(world_is_ready(w, 2, 6));
    world_hint(w, 2, 7, 0.9f);
    land(0, 0);
    request(2, 6, 7); /* one whole, one on the way */
    assert_int_equal(world_counters(w).covered, 1);
    assert_int_equal(world_counters(w).covered_late, 1);
    assert_true(world_is_whole(&w->tickets[0]));
    assert_int_equal(w->reader.n_pending, 2); /* it goes on where it stood */
    while (!world_is_whole(&w->tickets[1]))
        assert_int_equal(world_wait(w), 0);
    world_release_all(w);
    use(2, 6, 7);
    assert_int_equal(world_counters(w).hits, 2);
    assert_int_equal(world_counters(w).guesses_used, 2);
    assert_int_equal(world_counters(w).guesses_expired, 0);
    world_close(w);
}

static void a_guess_that_does_not_is_given_up(void **state)
{
    struct world_opts opts = small();

    opts.layers[2] = (struct world_layer){ BIG, BIG };
    open_with(&opts, 4);
    /* with reads in flight */
    world_hint(w, 2, 6, 0.9f);
    assert_int_equal(w->reader.n_pending, 2);
    request(2, 0, 1);
    assert_int_equal(world_counters(w).guesses_expired, 1);
    assert_false(w->experts[2][6].is_held);
    land(0, 0);
    land(0, 0);
    assert_true(world_counters(w).wasted_bytes > 0);
    while (!world_is_whole(&w->tickets[0]) || !world_is_whole(&w->tickets[1]))
        assert_int_equal(world_wait(w), 0);
    world_release_all(w);
    /* with none */
    world_hint(w, 2, 5, 0.9f);
    fake_land_all(&w->reader);
    request(2, 2, 3);
    assert_int_equal(world_counters(w).guesses_expired, 2);
    world_close(w);
}

static void guesses_never_go_before_demands(void **state)
{
    struct world_opts opts = small();

    opts.layers[3] = (struct world_layer){ BIG, BIG };
    opts.depth = 4;
    open_with(&opts, 8);
    world_hint(w, 3, 2, 0.9f);
    assert_int_equal(w->reader.n_pending, 2);
    request(1, 0, 1); /* checked at each submit: what is in flight, and what waits */
    assert_int_equal(w->reader.n_pending, 4);
    land(0, 0);
    assert_int_equal(w->reader.n_pending, 4);
    while (w->reader.n_pending > 2)
        land(w->reader.n_pending - 1, 0);
    land_all();
    assert_true(world_is_ready(w, 3, 2));
    world_close(w);
}

/* Of another kind than the one that has no slot left. */
static void guesses_wait_while_a_demand_has_no_slot(void **state)
{
    static const uint32_t all[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    struct world_opts opts = small();

    opts.n_experts = 16;
    opts.n_used = 1;
    opts.n_layers = 5;
    opts.layers[3] = opts.layers[4] = (struct world_layer){ 40 * KIB, 30 * KIB };
    world_open(w, &opts);
    assert_int_equal(world_set_budget(w, sl_cache_budget_all(w->cache) * 13 / 32), 0);
    world_request(w, 1, all, 16);
    assert_int_equal(world_counters(w).n_slots, 26); /* 13 of each kind */
    assert_int_equal(world_counters(w).n_loading, 13);
    land_all();
    world_hint(w, 3, 9, 1);
    assert_int_equal(w->reader.n_pending, 0);
    world_release_all(w);
    sl_cache_poll(w->cache);
    assert_true(w->reader.n_pending > 0);
    world_close(w);
}

static void guesses_end_with_their_layer(void **state)
{
    open_small(6);
    for (uint32_t e = 0; e < 2; e++) /* the second put replaces the first */
        sl_cache_hint(w->cache, (const struct sl_guess[]){ { 2, 3 + e, 0.9f }, { 2, 6, 0.8f },
                                                           { 3, 7, 0.7f } }, 3);
    request(2, 0, 1);
    land_all();
    assert_false(w->experts[2][4].is_held || w->experts[2][6].is_held);
    assert_true(world_is_ready(w, 3, 7));
    world_close(w);
}

static void unlikely_guesses_are_not_read(void **state)
{
    open_small(4);
    world_hint(w, 2, 1, 0.2f);
    assert_int_equal(w->reader.n_pending, 0);
    world_hint(w, 2, 1, 0.9f);
    assert_int_equal(w->reader.n_pending, 2);
    world_close(w);
}

static void a_failed_demand_spares_the_others(void **state)
{
    open_small(4);
    request(1, 0, 1);
    fake_land(&w->reader, 0, 0);    /* gate of 0 */
    fake_land(&w->reader, 0, 0);    /* up */
    fake_land(&w->reader, 2, -EIO); /* down */
    /* taken note of while gate and up are in use: nothing may be read over them */
    sl_cache_poll(w->cache);
    world_verify(w);
    world_hint(w, 3, 7, 1);
    assert_int_equal(world_wait(w), -EIO);
    assert_int_equal(w->tickets[0].error, -EIO);
    assert_int_equal(w->tickets[0].parts, SL_PARTS_GATE_UP);
    assert_int_equal(w->tickets[1].error, 0);
    assert_int_equal(world_counters(w).n_failed, 1);
    world_release(w, &w->tickets[0]); /* compares gate and up */
    while (!world_is_whole(&w->tickets[1]))
        assert_int_equal(world_wait(w), 0);
    world_release_all(w);
    assert_true(world_is_ready(w, 1, 1));
    assert_false(w->experts[1][0].is_held);
    use(1, 0, 1); /* the fault is gone */
    world_close(w);
}

static void a_failed_slice_stops_the_rest(void **state)
{
    struct world_opts opts = small();

    opts.layers[1] = (struct world_layer){ BIG, BIG };
    opts.depth = 2;
    open_with(&opts, 4);
    world_request(w, 1, (const uint32_t[]){ 0 }, 1);
    land(0, -EIO);
    land_all();
    assert_int_equal(w->reader.n_pending, 0);
    assert_int_equal(world_wait(w), -EIO);
    world_release_all(w);
    assert_int_equal(world_counters(w).n_loading, 0);
    world_close(w);
}

static void a_failed_check_uses_no_slot(void **state)
{
    for (uint32_t is_encoded = 0; is_encoded < 2; is_encoded++) {
        struct world_opts opts = small();

        opts.is_checked = true;
        opts.is_encoded = is_encoded;
        open_with(&opts, 4);
        use(1, 0, 1);
        request(1, 0, 1);
        assert_int_equal(w->tickets[0].unchecked, 0); /* once is enough */
        world_release_all(w);
        w->spoil_check = 1;
        assert_int_equal(world_use(w, 1, (const uint32_t[]){ 2, 0 }, 2), -EBADMSG);
        assert_false(w->experts[1][2].is_held);
        assert_true(world_is_ready(w, 1, 0));
        use(1, 2, 0);
        world_close(w);
    }
}

static void what_was_not_checked_is_checked_later(void **state)
{
    struct world_opts opts = small();

    opts.is_encoded = true;
    open_with(&opts, 4);
    request(1, 0, 1);
    fake_land_all(&w->reader);
    while (!world_is_whole(&w->tickets[1]))
        assert_int_equal(world_wait(w), 0);
    world_release_all(w);
    request(1, 0, 1);
    assert_int_equal(w->tickets[0].unchecked, SL_PARTS_ALL);
    assert_int_equal(world_check(w, &w->tickets[0]), 0);
    world_close(w);
}

static void a_failed_guess_is_forgotten(void **state)
{
    open_small(4);
    world_hint(w, 2, 6, 0.9f);
    land(0, -EIO);
    assert_false(w->experts[2][6].is_held);
    land_all();
    use(2, 6, 1);
    assert_int_equal(world_counters(w).n_failed, 1);
    assert_int_equal(world_counters(w).misses, 2);
    world_close(w);
}

/* What flew before the ticket came may have failed in a bad moment that is over. */
static void a_failed_guess_that_comes_true_is_read_again(void **state)
{
    open_small(4);
    world_hint(w, 2, 6, 0.9f);
    assert_int_equal(w->reader.n_pending, 2);
    world_request(w, 2, (const uint32_t[]){ 6 }, 1);
    assert_int_equal(w->reader.n_pending, 3);
    land(0, -EIO);
    land(0, -EIO);
    assert_int_equal(w->reader.n_pending, 3);
    land_all();
    assert_int_equal(world_wait(w), 0);
    assert_true(world_is_whole(&w->tickets[0]));
    world_release_all(w); /* compares */
    assert_int_equal(world_counters(w).n_failed, 0);
    world_close(w);
}

static void a_guess_that_comes_true_fails_in_the_end(void **state)
{
    open_small(4);
    world_hint(w, 2, 6, 0.9f);
    world_request(w, 2, (const uint32_t[]){ 6 }, 1);
    for (int i = 0; i < 5; i++)
        land(0, -EIO);
    assert_int_equal(world_wait(w), -EIO);
    assert_int_equal(w->reader.n_pending, 0);
    world_release_all(w);
    assert_int_equal(world_counters(w).n_failed, 1);
    use(2, 6, 1);
    world_close(w);
}

static void filling_ends_when_all_is_full(void **state)
{
    open_small(6);
    for (uint32_t e = 0; e < 8; e++)
        sl_evict_seed(sl_cache_evict(w->cache), 2, e, e == 3 || e == 4 ? 0.9f : 0.001f);
    sl_cache_fill(w->cache);
    sl_cache_poll(w->cache);
    for (uint32_t i = 0; i < 200 && w->reader.n_pending; i++)
        land(0, 0);
    assert_int_equal(w->reader.n_pending, 0);
    assert_int_equal(world_n_ready(w), 6);
    assert_true(world_is_ready(w, 2, 3) && world_is_ready(w, 2, 4)); /* what is worth most */
    use(2, 3, 4);
    assert_int_equal(world_counters(w).hits, 2);
    assert_int_equal(world_counters(w).evictions, 0);
    world_close(w);
}

static void filling_ends_at_a_bad_place(void **state)
{
    uint32_t n_reads = 0;

    open_small(6);
    sl_cache_fill(w->cache);
    sl_cache_poll(w->cache);
    for (; n_reads < 1000 && w->reader.n_pending; n_reads++)
        land(0, -EIO);
    assert_true(n_reads > 0 && n_reads < 20);
    use(1, 0, 1);
    world_close(w);
}

/* Layer 1 holds 0 to 3, and then its tokens choose 5 and 6, which are not asked for. */
static void observe_others(void)
{
    static const uint32_t others[] = { 5, 6 };

    use(1, 0, 1);
    use(1, 2, 3);
    for (uint32_t t = 0; t < 20; t++)
        sl_cache_observe(w->cache, 1, others, 2, NULL);
    sl_cache_poll(w->cache);
}

static void what_has_become_likely_is_read(void **state)
{
    open_small(4);
    observe_others();
    land_all();
    sl_cache_poll(w->cache);
    land_all();
    assert_true(world_is_ready(w, 1, 5) && world_is_ready(w, 1, 6));
    assert_int_equal(world_counters(w).evictions, 2);
    sl_cache_poll(w->cache);
    assert_int_equal(w->reader.n_pending, 0); /* the others are alike */
    use(1, 5, 6);
    assert_int_equal(world_counters(w).hits, 2);
    world_close(w);
}

static void a_guess_goes_before_a_filling(void **state)
{
    open_small(4);
    observe_others();
    world_hint(w, 2, 7, 0.9f);
    for (uint32_t i = 0; i < 100 && !world_is_ready(w, 2, 7); i++)
        land(0, 0);
    assert_true(world_is_ready(w, 2, 7));
    assert_false(world_is_ready(w, 1, 5) && world_is_ready(w, 1, 6));
    world_close(w);
}

static void nothing_is_swapped_where_guessing_is_off(void **state)
{
    struct world_opts opts = small();

    for (uint32_t i = 0; i < 2; i++) {
        opts.guess = i == 1;
        opts.policy = i == 1 ? SL_EVICT_LRU : SL_EVICT_DEFAULT;
        open_with(&opts, 4);
        observe_others();
        assert_int_equal(w->reader.n_pending, 0);
        assert_int_equal(world_counters(w).evictions, 0);
        world_close(w);
    }
}

static void nothing_is_swapped_while_a_layer_is_wanted_whole(void **state)
{
    static const uint32_t all[] = { 7, 4, 5, 6, 3, 2, 1, 0 };

    open_small(4);
    observe_others();
    land_all();
    (void)world_use(w, 2, all, 8);
    for (uint32_t t = 0; t < 20; t++)
        sl_cache_observe(w->cache, 1, (const uint32_t[]){ 0, 1 }, 2, NULL);
    sl_cache_poll(w->cache);
    assert_int_equal(w->reader.n_pending, 0);
    world_close(w);
}

static void the_least_valuable_goes_first(void **state)
{
    static const enum sl_evict_policy policies[] = { SL_EVICT_DEFAULT, SL_EVICT_LRU };

    for (uint32_t i = 0; i < 2; i++) {
        struct world_opts opts = small();

        opts.policy = policies[i];
        opts.guess = false; /* or 1 comes back by itself */
        open_with(&opts, 4);
        for (uint32_t t = 0; t < 20; t++) { /* 0 always, 1 with it until token 9, then 2 */
            uint32_t experts[] = { 0, t < 10 ? 1 : 2 };

            use(1, experts[0], experts[1]);
            sl_cache_observe(w->cache, 1, experts, 2, NULL);
        }
        use(2, 0, 1); /* three in, one more than free */
        assert_true(world_is_ready(w, 1, 0) && world_is_ready(w, 1, 2));
        assert_false(world_is_ready(w, 1, 1));
        assert_int_equal(world_counters(w).evictions, 1);
        world_close(w);
    }
}

/* Of equals the one whose layer comes last. */
static void what_was_just_passed_goes_first(void **state)
{
    open_small(4);
    use(3, 0, 1);
    use(1, 0, 1);
    use(2, 0, 1);
    assert_true(world_is_ready(w, 3, 0) && world_is_ready(w, 3, 1));
    assert_false(world_is_ready(w, 1, 0) || world_is_ready(w, 1, 1));
    world_close(w);
}

static void more_than_there_are_slots_is_read_in_turns(void **state)
{
    static const uint32_t all[] = { 7, 6, 5, 4, 3, 2, 1, 0 };

    open_small(4);
    world_request(w, 3, all, 8);
    assert_int_equal(world_counters(w).n_loading, 4);
    fake_land_all(&w->reader);
    while (!world_is_whole(&w->tickets[0]) || !world_is_whole(&w->tickets[3]))
        assert_int_equal(world_wait(w), 0);
    assert_int_equal(sl_cache_wait(w->cache), 0); /* the rest needs a release: at once */
    assert_int_equal(w->reader.n_waits, 0);
    world_release_all(w);
    assert_int_equal(world_use(w, 3, all, 8), 0);
    world_close(w);
}

static void a_budget_too_small_changes_nothing(void **state)
{
    open_small(5);
    use(1, 0, 1);
    assert_int_equal(world_set_budget(w, world_least(w) - 1), -ENOMEM);
    assert_int_equal(world_counters(w).n_slots, 5);
    assert_int_equal(world_n_ready(w), 2);
    assert_int_equal(world_set_budget(w, world_least(w)), 0);
    assert_int_equal(world_counters(w).n_slots, 4);
    use(1, 0, 1);
    world_close(w);
}

static void a_budget_cut_waits_for_reads(void **state)
{
    open_small(4);
    assert_int_equal(world_set_budget(w, world_budget_of(w, 20)), 0);
    world_request(w, 1, (const uint32_t[]){ 0, 1, 2, 3, 4, 5, 6, 7 }, 8);
    world_release_all(w);
    world_hint(w, 2, 3, 1);
    assert_int_equal(world_set_budget(w, world_least(w)), 0); /* strays are noticed */
    assert_int_equal(world_counters(w).n_slots, 4);
    assert_true(world_counters(w).regions_given_back > 0);
    use(1, 0, 1);
    world_close(w);
}

static void with_room_for_all_nothing_is_evicted(void **state)
{
    struct world_opts opts = small();

    opts.layers[3] = (struct world_layer){ 40 * KIB, 30 * KIB };
    world_open(w, &opts);
    assert_int_equal(world_set_budget(w, sl_cache_budget_all(w->cache)), 0);
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t layer = 1; layer < 4; layer++)
            for (uint32_t e = 0; e < 8; e += 2)
                use(layer, e, e + 1);
    assert_int_equal(world_counters(w).misses, 24);
    assert_int_equal(world_counters(w).hits, 24);
    assert_int_equal(world_counters(w).evictions, 0);
    world_close(w);
}

static void a_small_budget_makes_one_kind(void **state)
{
    struct world_opts opts = small();

    opts.layers[2] = (struct world_layer){ 40 * KIB, 30 * KIB };
    world_open(w, &opts);
    assert_int_equal(world_set_budget(w, world_least(w)), 0);
    assert_int_equal(world_counters(w).n_slots, 4);
    for (uint32_t layer = 1; layer < 4; layer++)
        use(layer, 0, 1);
    assert_int_equal(world_n_ready(w), 4);
    assert_int_equal(world_set_budget(w, sl_cache_budget_all(w->cache)), 0); /* now kinds */
    assert_int_equal(world_counters(w).n_slots, 24);
    for (uint32_t layer = 1; layer < 4; layer++)
        use(layer, 0, 1);
    assert_int_equal(world_n_ready(w), 6);
    world_close(w);
}

static void count_bytes(void *arg, void *base, uint64_t bytes)
{
    *(uint64_t *)arg += bytes;
    assert_int_equal(*(const uint8_t *)base, 0);
    for (uint32_t i = 0; i < w->reader.n_pending; i++)
        assert_false((uint8_t *)w->reader.pending[i].buf >= (uint8_t *)base &&
                     (uint8_t *)w->reader.pending[i].buf < (uint8_t *)base + bytes);
}

/* Before the first read, those that are never used not at all. */
static void each_region_is_placed_once(void **state)
{
    struct world_opts opts = small();
    uint64_t placed = 0;

    opts.place = count_bytes;
    opts.place_arg = &placed;
    open_with(&opts, 4);
    assert_int_equal(placed, 0);
    use(1, 0, 1);
    use(1, 2, 3);
    assert_int_equal(placed, world_counters(w).slot_bytes);
    assert_int_equal(world_set_budget(w, world_budget_of(w, 8)), 0);
    assert_true(placed < world_counters(w).slot_bytes);
    use(2, 0, 1);
    use(2, 2, 3);
    assert_int_equal(placed, world_counters(w).slot_bytes);
    world_close(w);
}

static void closing_waits_for_reads(void **state)
{
    open_small(4);
    request(1, 0, 1);
    world_release_all(w);
    world_hint(w, 2, 2, 1);
    assert_true(w->reader.n_pending > 0);
    world_close(w); /* strays and leaks are noticed */
}

/* A short queue of the reader, larger than one batch, in any case all is read. */
static void a_short_queue_is_enough(void **state)
{
    static const uint32_t depths[] = { 1, 2, 3, 7, 256 };

    for (uint32_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
        struct world_opts opts = small();

        opts.depth = depths[i];
        opts.layers[1] = (struct world_layer){ 9 * BIG, 2 * BIG };
        open_with(&opts, 4);
        assert_int_equal(world_use(w, 1, (const uint32_t[]){ 4, 2, 6, 1 }, 4), 0);
        use(2, 0, 1);
        world_close(w);
    }
}

static void resident_answers_at_once(void **state)
{
    static const float data[2 * 8];
    struct sl_tensor stack = { .data = data, .dtype = SL_DTYPE_F32, .n_cols = 8, .n_rows = 1,
                               .n_mats = 2, .row_bytes = 32 };
    struct sl_cache_layer layer = { .mats = { stack, stack, stack } };
    struct sl_ticket ticket;
    struct sl_cache *cache;

    assert_int_equal(sl_cache_new_resident(&cache, &layer, 1), 0);
    assert_false(sl_cache_is_streaming(cache));
    sl_cache_request(cache, 0, (const uint32_t[]){ 1 }, 1, &ticket);
    assert_int_equal(ticket.parts, SL_PARTS_ALL);
    assert_int_equal(ticket.unchecked, 0);
    assert_ptr_equal(ticket.mats[SL_PART_DOWN].data, data + 8);
    assert_int_equal(sl_cache_wait(cache), 0);
    sl_cache_poll(cache);
    sl_cache_hint(cache, NULL, 0);
    sl_cache_fill(cache);
    assert_null(sl_cache_chances(cache, 0));
    assert_null(sl_cache_verify(cache));
    sl_cache_release(cache, &ticket);
    assert_false(ticket.is_open);
    sl_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_miss_is_read_and_the_next_time_a_hit),
        cmocka_unit_test(a_ticket_given_back_early_drains),
        cmocka_unit_test(all_slots_may_drain_at_once),
        cmocka_unit_test(a_guess_that_comes_true_covers),
        cmocka_unit_test(a_guess_that_does_not_is_given_up),
        cmocka_unit_test(guesses_never_go_before_demands),
        cmocka_unit_test(guesses_wait_while_a_demand_has_no_slot),
        cmocka_unit_test(guesses_end_with_their_layer),
        cmocka_unit_test(unlikely_guesses_are_not_read),
        cmocka_unit_test(a_failed_demand_spares_the_others),
        cmocka_unit_test(a_failed_slice_stops_the_rest),
        cmocka_unit_test(a_failed_check_uses_no_slot),
        cmocka_unit_test(what_was_not_checked_is_checked_later),
        cmocka_unit_test(a_failed_guess_is_forgotten),
        cmocka_unit_test(a_failed_guess_that_comes_true_is_read_again),
        cmocka_unit_test(a_guess_that_comes_true_fails_in_the_end),
        cmocka_unit_test(filling_ends_when_all_is_full),
        cmocka_unit_test(filling_ends_at_a_bad_place),
        cmocka_unit_test(what_has_become_likely_is_read),
        cmocka_unit_test(a_guess_goes_before_a_filling),
        cmocka_unit_test(nothing_is_swapped_where_guessing_is_off),
        cmocka_unit_test(nothing_is_swapped_while_a_layer_is_wanted_whole),
        cmocka_unit_test(the_least_valuable_goes_first),
        cmocka_unit_test(what_was_just_passed_goes_first),
        cmocka_unit_test(more_than_there_are_slots_is_read_in_turns),
        cmocka_unit_test(a_budget_too_small_changes_nothing),
        cmocka_unit_test(a_budget_cut_waits_for_reads),
        cmocka_unit_test(with_room_for_all_nothing_is_evicted),
        cmocka_unit_test(a_small_budget_makes_one_kind),
        cmocka_unit_test(each_region_is_placed_once),
        cmocka_unit_test(closing_waits_for_reads),
        cmocka_unit_test(a_short_queue_is_enough),
        cmocka_unit_test(resident_answers_at_once),
    };
    int r;

    w = malloc(sizeof(*w));
    if (!w)
        return 1;
    r = cmocka_run_group_tests(tests, NULL, NULL);
    free(w);
    return r;
}
