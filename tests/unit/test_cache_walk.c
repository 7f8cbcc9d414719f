/*
 * The expert cache on a random walk: any calls in any order that is allowed, reads that
 * land in any order and some of them not at all, budgets that come and go. After each
 * call the invariants hold, the counters agree with a second account, and what tickets
 * show is what the files hold (cacheworld.h). The same calls and the same landings give
 * the same events. SL_SEED repeats a walk, SL_STEPS makes it longer.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cacheworld.h"

#define KIB 1024u

struct walk {
    struct world world;
    uint64_t rng;
    uint32_t one_fails_of; /* reads; 0: none fails */
};

static struct walk *walk; /* the one there is */
static uint64_t seed;
static uint32_t n_steps = 4000;

static uint64_t draw(void)
{
    uint64_t x = walk->rng += 0x9E3779B97F4A7C15u;

    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static uint32_t below(uint32_t n)
{
    return (uint32_t)(draw() % n);
}

static bool one_of(uint32_t n)
{
    return below(n) == 0;
}

/* Any reads, at least so many. */
static void land_some(uint32_t n_least)
{
    struct sl_reader *r = &walk->world.reader;

    for (uint32_t n = n_least + below(4); n > 0 && r->n_pending; n--)
        fake_land(r, below(r->n_pending),
                  walk->one_fails_of && one_of(walk->one_fails_of) ? -EIO : 0);
}

static void on_wait(void *arg)
{
    land_some(1);
}

/* An MoE layer, and n of its experts in any order. */
static uint32_t draw_experts(uint32_t n, uint32_t *ret_experts)
{
    const struct world_opts *opts = &walk->world.opts;
    uint32_t layer = below(opts->n_layers);

    while (!opts->layers[layer].gate_bytes)
        layer = below(opts->n_layers);
    for (uint32_t i = 0; i < opts->n_experts; i++)
        ret_experts[i] = i;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = i + below(opts->n_experts - i), e = ret_experts[i];

        ret_experts[i] = ret_experts[j];
        ret_experts[j] = e;
    }
    return layer;
}

static void hint(void)
{
    struct sl_guess guesses[2 * WORLD_EXPERTS_MAX];
    uint32_t experts[WORLD_EXPERTS_MAX], n = 0;

    for (uint32_t i = below(3); i > 0; i--) {
        uint32_t n_some = below(walk->world.opts.n_experts + 1);
        uint32_t layer = draw_experts(n_some, experts);

        for (uint32_t k = 0; k < n_some; k++)
            guesses[n++] = (struct sl_guess){ layer, experts[k], (float)below(1025) / 1024 };
    }
    sl_cache_hint(walk->world.cache, guesses, n);
}

static void observe(void)
{
    uint32_t experts[WORLD_EXPERTS_MAX], n = walk->world.opts.n_used;
    int8_t ranks[WORLD_EXPERTS_MAX];
    uint32_t layer = draw_experts(n, experts);

    for (uint32_t e = 0; e < WORLD_EXPERTS_MAX; e++)
        ranks[e] = (int8_t)(below(255) - 127);
    sl_cache_observe(walk->world.cache, layer, experts, n, one_of(2) ? ranks : NULL);
}

static void change_budget(void)
{
    struct world *w = &walk->world;
    uint64_t least = world_least(w), all = sl_cache_budget_all(w->cache);
    uint64_t bytes = least + (all > least ? draw() % (all - least + 1) : 0);

    switch (below(6)) {
    case 0:
        bytes = least;
        break;
    case 1:
        bytes = all > least ? all : least;
        break;
    case 2: /* a little more or less */
        bytes = w->budget + (w->budget >> 4) - draw() % (w->budget >> 3);
        break;
    case 3: /* too little */
        assert_int_equal(world_set_budget(w, draw() % least), -ENOMEM);
        return;
    default:
        break;
    }
    bytes = bytes > least ? bytes : least;
    assert_int_equal(world_set_budget(w, bytes), 0);
}

static void ask(void)
{
    uint32_t experts[WORLD_EXPERTS_MAX], n_most = walk->world.opts.n_experts, n;
    uint32_t layer;

    n = one_of(4) ? 1 + below(n_most) : walk->world.opts.n_used;
    layer = draw_experts(n, experts);
    world_request(&walk->world, layer, experts, n);
}

static void release_one(bool is_any)
{
    struct world *w = &walk->world;
    uint32_t first = below(w->n_tickets);

    for (uint32_t i = 0; i < w->n_tickets; i++) {
        struct sl_ticket *t = &w->tickets[(first + i) % w->n_tickets];

        if (!t->is_open || !(is_any || world_is_whole(t) || t->error))
            continue;
        (void)world_check(w, t);
        world_release(w, t);
        return;
    }
}

static void check_one(void)
{
    struct world *w = &walk->world;
    struct sl_ticket *t = &w->tickets[below(w->n_tickets)];

    if (t->is_open && !t->error)
        (void)world_check(w, t);
}

/* One call inside a request, or between two. */
static void step(void)
{
    struct world *w = &walk->world;
    bool is_open = world_has_open(w);
    uint32_t what = below(100);

    if (one_of(64))
        w->spoil_check = 1;
    if (one_of(200))
        walk->one_fails_of = (uint32_t[]){ 0, 0, 200, 40, 6 }[below(5)];
    if (what < 20)
        land_some(0);
    else if (what < 32)
        sl_cache_poll(w->cache);
    else if (what < 42)
        hint();
    else if (what < 46)
        observe();
    else if (what < 47)
        sl_cache_fill(w->cache);
    else if (is_open && what < 70)
        (void)world_wait(w);
    else if (is_open && what < 80)
        check_one();
    else if (is_open && what < 98)
        release_one(false);
    else if (is_open)
        one_of(2) ? release_one(true) : world_release_all(w);
    else if (what < 50)
        change_budget();
    else
        ask();
    world_verify(w);
}

static void draw_opts(struct world_opts *opts)
{
    static const struct world_layer kinds[] = {
        { 24 * KIB, 16 * KIB + 32 },   { 24 * KIB, 16 * KIB + 32 }, { 40 * KIB, 30 * KIB },
        { 70 * KIB + 96, 70 * KIB },   { 120 * KIB, 64 * KIB },     { 1100 * KIB, 200 * KIB },
        { 2112 * KIB + 64, 90 * KIB }, { 0, 0 },
    };
    uint32_t n_kinds = 1 + below(3), n_layers = 0;

    *opts = (struct world_opts){
        .n_layers = 1 + below(WORLD_LAYERS_MAX), .n_used = 1 + below(4),
        .alignment = 4096, .depth = (uint32_t[]){ 1, 2, 5, 64, 256 }[below(5)],
        .is_encoded = one_of(4), .is_checked = one_of(3), .guess = !one_of(4),
        .policy = (enum sl_evict_policy)below(3),
    };
    opts->n_experts = opts->n_used + 2 + below(WORLD_EXPERTS_MAX - opts->n_used - 1);
    if (one_of(3)) /* many small ones, so that kinds are kept apart */
        opts->n_layers = WORLD_LAYERS_MAX, opts->n_experts = WORLD_EXPERTS_MAX, opts->n_used = 1;
    for (uint32_t l = 0; l < opts->n_layers; l++) {
        uint32_t kind = below(n_kinds) + (one_of(8) ? below(3) : 0);

        opts->layers[l] = kinds[one_of(8) ? 7 : one_of(20) ? 5 + below(2) : kind];
        n_layers += opts->layers[l].gate_bytes > 0;
    }
    if (n_layers == 0)
        opts->layers[0] = kinds[below(7)];
}

static uint64_t run(uint64_t rng)
{
    struct world_opts opts;
    uint64_t digest;

    *walk = (struct walk){ .rng = rng };
    draw_opts(&opts);
    world_open(&walk->world, &opts);
    walk->world.reader.on_wait = on_wait;
    assert_int_equal(world_set_budget(&walk->world, world_least(&walk->world)), 0);
    for (uint32_t i = 0; i < n_steps; i++)
        step();
    digest = walk->world.digest;
    world_close(&walk->world);
    return digest;
}

static void all_walks_keep_the_invariants(void **state)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < 24; i++) {
        run(seed + i);
        sum += walk->world.want.covered + walk->world.want.n_failed;
    }
    assert_true(sum > 0);
}

static void the_same_walk_gives_the_same_events(void **state)
{
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t digest = run(seed + 1000 + i);

        assert_true(digest == run(seed + 1000 + i));
        assert_true(digest != run(seed + 2000 + i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_walks_keep_the_invariants),
        cmocka_unit_test(the_same_walk_gives_the_same_events),
    };
    const char *text = getenv("SL_SEED"), *steps = getenv("SL_STEPS");
    int r;

    seed = text ? strtoull(text, NULL, 10) : (uint64_t)time(NULL);
    n_steps = steps ? (uint32_t)strtoul(steps, NULL, 10) : n_steps;
    printf("SL_SEED=%llu\n", (unsigned long long)seed);
    walk = malloc(sizeof(*walk));
    if (!walk)
        return 1;
    r = cmocka_run_group_tests(tests, NULL, NULL);
    free(walk);
    return r;
}
