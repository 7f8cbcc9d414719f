/*
 * What sluice tune tries on machines that are not here, and how it finds the best with
 * measurements that are made up: a table of rates, noise, drift, and a clock that moves as
 * the runs would take.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/tunesearch.h"
#include "cli/tunesettings.h"
#include "experts/cpulist.h"
#include "experts/placement.h"

#define SECOND 1000000000ull
#define THREADRIPPER "Package:1 NUMANode:4 L3Cache:2(size=33554432) Core:8 PU:2"

static const char *list; /* of XML machines */

/* ---- settings ---- */

static struct sl_topology *topology_of(const char *name, const char *allowed)
{
    struct sl_topology *topo = NULL;
    struct sl_diag diag = { "" };
    char path[2048];
    int r;

    snprintf(path, sizeof(path), "%.*s/%s.xml", (int)strlen(list) - 4, list, name);
    r = sl_topology_from_text(&topo, strchr(name, ':') ? name : path, allowed, &diag);
    if (r == -ENOTSUP) {
        print_message("skipped: %s\n", diag.text);
        return NULL;
    }
    if (r < 0)
        fail_msg("%s: %d: %s", name, r, diag.text);
    return topo;
}

struct machine {
    const char *name, *allowed;
    double quota;
    struct {
        const char *name, *cpus;
    } want[SL_TUNE_SETTINGS_MAX];
};

static const struct machine machines[] = {
    { "9700x", NULL, 0,
      { { "one on each core", "0-7" },
        { "one worker", "0" },
        { "half of the cores", "0-3" },
        { "a quarter of the cores", "0-1" },
        { "all but one", "0-6" },
        { "SMT siblings too", "0-15" },
        { "not bound", "any" } } },
    { "7950x", NULL, 0,
      { { "one on each core", "0-15" },
        { "one worker", "0" },
        { "one L3 domain, 32 MiB", "0-7" },
        { "half of each L3 domain", "0-3,8-11" },
        { "a quarter of each L3 domain", "0-1,8-9" },
        { "all but one", "0-14" },
        { "SMT siblings too", "0-31" },
        { "not bound", "any" } } },
    { "7950x-no-smt", NULL, 0,
      { { "one on each core", "0-15" },
        { "one worker", "0" },
        { "one L3 domain, 32 MiB", "0-7" },
        { "half of each L3 domain", "0-3,8-11" },
        { "a quarter of each L3 domain", "0-1,8-9" },
        { "all but one", "0-14" },
        { "not bound", "any" } } },
    { "9950x3d", NULL, 0, /* both domains, since they differ */
      { { "one on each core", "0-15" },
        { "one worker", "0" },
        { "one L3 domain, 96 MiB", "0-7" },
        { "one L3 domain, 32 MiB", "8-15" },
        { "half of each L3 domain", "0-3,8-11" },
        { "a quarter of each L3 domain", "0-1,8-9" },
        { "all but one", "0-14" },
        { "SMT siblings too", "0-31" },
        { "not bound", "any" } } },
    { "hybrid-laptop", NULL, 0,
      { { "one on each big core", "0-10:2" },
        { "one worker", "0" },
        { "half of the cores", "0-4:2" },
        { "all but one", "0-8:2" },
        { "small cores too", "0-12:2,13-21" },
        { "SMT siblings too", "0-10:2,1-11:2" },
        { "every logical CPU", "0-12:2,13-21,1-11:2" },
        { "not bound", "any" } } },
    { THREADRIPPER, NULL, 0,
      { { "one on each core", "0-126:2" },
        { "one worker", "0" },
        { "one L3 domain, 32 MiB", "0-14:2" },
        { "2 L3 domains", "0-30:2" },
        { "4 L3 domains", "0-62:2" },
        { "half of each L3 domain", NULL },
        { "a quarter of each L3 domain", "0,2,16,18,32,34,48,50,64,66,80,82,96,98,112,114" },
        { "all but one", "0-124:2" },
        { "SMT siblings too", "0-126:2,1-127:2" },
        { "not bound", "any" } } },
    { "9700x", "3", 0, { { "one on each core", "3" }, { "not bound", "any" } } },
    { "9700x", "0-1", 0,
      { { "one on each core", "0-1" }, { "one worker", "0" }, { "not bound", "any" } } },
    { "7950x", NULL, 6.5, /* shared with others: numbers alone */
      { { "as many as the quota feeds", "7" },
        { "1 worker", "1" },
        { "2 workers", "2" },
        { "4 workers", "4" },
        { "the quota rounded down", "6" },
        { "twice as many", "14" },
        { "one for each core", "16" } } },
    { "7950x", NULL, 0.5,
      { { "as many as the quota feeds", "1" },
        { "twice as many", "2" },
        { "one for each core", "16" } } },
};

static void each_machine_has_its_settings(void **state)
{
    static struct sl_tune_setting settings[SL_TUNE_SETTINGS_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        const struct machine *m = &machines[i];
        struct sl_topology *topo = topology_of(m->name, m->allowed);
        struct sl_placement usual;
        char cpus[256];
        int n;

        if (!topo)
            skip();
        topo->quota_cpus = m->quota;
        n = sl_tunesettings_list(settings, topo);
        assert_int_equal(sl_placement_plan(&usual, topo, 0, NULL), 0);
        assert_true(n > 0 && settings[0].n == usual.n_threads);
        assert_memory_equal(settings[0].cpus, usual.cpus, usual.n_threads * sizeof(int32_t));
        sl_placement_done(&usual);
        for (int k = 0; k < n; k++) {
            sl_cpulist_print(cpus, sizeof(cpus), settings[k].cpus, settings[k].n);
            if (m->quota > 0)
                snprintf(cpus, sizeof(cpus), "%u", settings[k].n);
            if (!m->want[k].name || strcmp(settings[k].name, m->want[k].name) != 0 ||
                (m->want[k].cpus && strcmp(cpus, m->want[k].cpus) != 0))
                fail_msg("%s, setting %d: \"%s\" on %s, expected \"%s\" on %s", m->name, k,
                         settings[k].name, cpus, m->want[k].name ? m->want[k].name : "none",
                         m->want[k].cpus ? m->want[k].cpus : "-");
            assert_int_equal(sl_placement_exact(&usual, topo, settings[k].cpus, settings[k].n,
                                                NULL), 0);
            sl_placement_done(&usual);
        }
        if (m->want[n].name)
            fail_msg("%s: \"%s\" is missing", m->name, m->want[n].name);
        sl_topology_close(topo);
    }
}

static void machines_of_any_size_have_settings(void **state)
{
    static struct sl_tune_setting settings[SL_TUNE_SETTINGS_MAX];
    char text[128];

    (void)state;
    for (int n_l3 = 1; n_l3 <= 64; n_l3 *= 2)
        for (int n_cores = 1; n_cores <= 16; n_cores++)
            for (int n_pus = 1; n_pus <= 2; n_pus++) {
                struct sl_topology *topo;
                int n;

                snprintf(text, sizeof(text), "Package:1 L3Cache:%d(size=1048576) Core:%d PU:%d",
                         n_l3, n_cores, n_pus);
                topo = topology_of(text, NULL);
                if (!topo)
                    skip();
                n = sl_tunesettings_list(settings, topo);
                assert_true(n >= 2 && n <= SL_TUNE_SETTINGS_MAX);
                for (int k = 0; k < n; k++)
                    assert_true(settings[k].n >= 1 && settings[k].n <= SL_POOL_WORKERS_MAX);
                sl_topology_close(topo);
            }
}

/* ---- search ---- */

struct world {
    uint32_t n;
    double decode[SL_TUNE_SETTINGS_MAX], prefill[SL_TUNE_SETTINGS_MAX];
    double noise; /* share of a rate, either way */
    double drift; /* share by which all become slower with each run */
    uint64_t run_ns[SL_TUNE_SETTINGS_MAX]; /* 0: a second */
    uint64_t now_ns, random;
    uint32_t n_runs, fail_at; /* the run that fails; 0: none */
    uint32_t runs[SL_TUNE_SETTINGS_MAX], order[4096];
};

static uint64_t clock_of(void *arg)
{
    return ((struct world *)arg)->now_ns;
}

static double noisy(struct world *w, double rate)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    rate *= pow(1.0 - w->drift, w->n_runs);
    return rate * (1.0 + w->noise * ((double)(w->random >> 11) * 0x1p-52 - 1.0));
}

static int run(void *arg, uint32_t i, double ret_rates[SL_TUNE_PURPOSES])
{
    struct world *w = arg;

    assert_true(i < w->n);
    w->order[w->n_runs++] = i;
    w->runs[i]++;
    w->now_ns += w->run_ns[i] ? w->run_ns[i] : SECOND;
    if (w->n_runs == w->fail_at)
        return -EIO;
    ret_rates[SL_TUNE_DECODE] = noisy(w, w->decode[i]);
    ret_rates[SL_TUNE_PREFILL] = noisy(w, w->prefill[i]);
    return 0;
}

static struct sl_tune_result results[SL_TUNE_SETTINGS_MAX];

static int search(struct world *w, enum sl_tune_purpose purpose, uint64_t seconds,
                  uint32_t *ret_best)
{
    const struct sl_tune_search s = { .n_settings = w->n, .purpose = purpose,
                                      .end_ns = w->now_ns + seconds * SECOND,
                                      .clock_ns = clock_of, .run = run, .arg = w };

    w->random = w->random ? w->random : 88172645463325252u;
    return sl_tunesearch_run(&s, results, ret_best);
}

static void the_fastest_is_found(void **state)
{
    struct world w = { .n = 4, .decode = { 30, 10, 36, 33 }, .prefill = { 300, 40, 290, 310 } };
    uint32_t best = 99;

    (void)state;
    assert_int_equal(search(&w, SL_TUNE_DECODE, 60, &best), 0);
    assert_int_equal(best, 2);
    assert_true(results[2].spread[SL_TUNE_DECODE].median == 36);
    assert_true(results[1].spread[SL_TUNE_PREFILL].high == 40);
    w = (struct world){ .n = 4, .decode = { 30, 10, 36, 33 }, .prefill = { 300, 40, 250, 330 } };
    assert_int_equal(search(&w, SL_TUNE_PREFILL, 60, &best), 0);
    assert_int_equal(best, 3);
}

static void of_equals_the_one_better_at_the_other_thing_is_taken(void **state)
{
    struct world w = { .n = 3, .decode = { 30, 30.5, 30.8 }, .prefill = { 200, 400, 150 } };
    struct world same = { .n = 3, .decode = { 30, 30.5, 30.8 }, .prefill = { 200, 203, 205 } };
    uint32_t best = 99;

    (void)state;
    assert_int_equal(search(&w, SL_TUNE_DECODE, 60, &best), 0);
    assert_int_equal(best, 1);
    assert_int_equal(search(&same, SL_TUNE_DECODE, 60, &best), 0);
    assert_int_equal(best, 0); /* what is usual */
}

static void slow_ones_are_given_up_but_not_the_first(void **state)
{
    struct world w = { .n = 5, .decode = { 10, 21, 40, 39, 19 }, .prefill = { 1, 1, 1, 1, 1 } };
    uint32_t best = 99;

    (void)state;
    assert_int_equal(search(&w, SL_TUNE_DECODE, 60, &best), 0);
    assert_true(results[1].is_out && results[1].n_rounds == 4 && w.runs[1] == 4);
    assert_true(results[4].is_out && results[4].n_rounds == 2 && w.runs[4] == 2);
    assert_false(results[0].is_out);
    assert_true(w.runs[0] == 18 && w.runs[2] == 18 && w.runs[3] == 18);
    assert_int_equal(w.now_ns, 60 * SECOND); /* 18 x 3 + 4 + 2 */
    assert_int_equal(best, 2);
}

static void close_ones_are_kept_while_there_is_noise(void **state)
{
    struct world w = { .n = 3, .noise = 0.1, .decode = { 30, 31, 29 }, .prefill = { 1, 1, 1 } };
    uint32_t best = 99;

    (void)state;
    assert_int_equal(search(&w, SL_TUNE_DECODE, 90, &best), 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(!results[i].is_out && results[i].n_rounds == 30);
}

static void drift_falls_on_all_alike(void **state)
{
    uint32_t n_right = 0;

    (void)state;
    for (uint32_t seed = 1; seed <= 200; seed++) {
        struct world w = { .n = 6, .noise = 0.04, .drift = 0.005, .random = seed * 7919,
                           .decode = { 30, 28, 34, 30, 27, 29 },
                           .prefill = { 9, 9, 9, 9, 9, 9 } };
        uint32_t best = 99;

        assert_int_equal(search(&w, SL_TUNE_DECODE, 60, &best), 0);
        n_right += best == 2;
    }
    if (n_right < 195) /* after 60 runs all are a quarter slower than at first */
        fail_msg("the best was found in %u of 200 searches", n_right);
}

static void every_round_has_every_setting_in_changing_order(void **state)
{
    struct world w = { .n = 5, .noise = 0.02, .decode = { 5, 5, 5, 5, 5 },
                       .prefill = { 5, 5, 5, 5, 5 } };
    uint32_t best, n_first[5] = { 0 };

    (void)state;
    assert_int_equal(search(&w, SL_TUNE_DECODE, 50, &best), 0);
    assert_int_equal(w.n_runs, 50);
    for (uint32_t round = 0; round < 10; round++) {
        uint32_t seen = 0;

        for (uint32_t k = 0; k < 5; k++)
            seen |= 1u << w.order[round * 5 + k];
        assert_int_equal(seen, 31);
        n_first[w.order[round * 5]]++;
    }
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(n_first[i], 2);
}

static void the_time_is_kept(void **state)
{
    struct world w = { .n = 3, .decode = { 3, 3, 3 }, .prefill = { 3, 3, 3 },
                       .run_ns = { SECOND, 2 * SECOND, 4 * SECOND } };
    uint32_t best = 99;

    (void)state;
    assert_int_equal(search(&w, SL_TUNE_DECODE, 30, &best), 0);
    assert_int_equal(w.now_ns, 28 * SECOND); /* a fifth round would end at 35 */

    w = (struct world){ .n = 3, .decode = { 3, 3, 3 }, .prefill = { 3, 3, 3 } };
    best = 99;
    assert_int_equal(search(&w, SL_TUNE_DECODE, 8, &best), -EAGAIN); /* nine are needed */
    assert_int_equal(w.n_runs, 6);
    assert_int_equal(best, 99);
    w = (struct world){ .n = 3, .decode = { 3, 3, 3 }, .prefill = { 3, 3, 3 } };
    assert_int_equal(search(&w, SL_TUNE_DECODE, 9, &best), 0);
    assert_int_equal(w.n_runs, 9);
    w = (struct world){ .n = 3, .decode = { 3, 3, 3 }, .prefill = { 3, 3, 3 } };
    assert_int_equal(search(&w, SL_TUNE_DECODE, 0, &best), -EAGAIN);
    assert_int_equal(w.n_runs, 0);
    /* a first round that is slower than anybody thought is not carried through */
    w = (struct world){ .n = 3, .decode = { 3, 3, 3 }, .prefill = { 3, 3, 3 },
                        .run_ns = { 20 * SECOND, SECOND, SECOND } };
    assert_int_equal(search(&w, SL_TUNE_DECODE, 10, &best), -EAGAIN);
    assert_int_equal(w.n_runs, 1);
}

static void there_is_an_end_of_rounds(void **state)
{
    struct world w = { .n = 1, .decode = { 3 }, .prefill = { 3 }, .run_ns = { 1000 } };
    uint32_t best = 99;

    (void)state;
    assert_int_equal(search(&w, SL_TUNE_DECODE, 60, &best), 0);
    assert_int_equal(w.n_runs, SL_TUNE_ROUNDS_MAX);
    assert_int_equal(best, 0);
}

static void a_run_that_fails_ends_it(void **state)
{
    (void)state;
    for (uint32_t at = 1; at < 20; at++) {
        struct world w = { .n = 3, .decode = { 3, 3, 3 }, .prefill = { 3, 3, 3 }, .fail_at = at };
        uint32_t best = 99;

        assert_int_equal(search(&w, SL_TUNE_DECODE, 60, &best), -EIO);
        assert_int_equal(best, 99);
        assert_int_equal(w.n_runs, at);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_machine_has_its_settings),
        cmocka_unit_test(machines_of_any_size_have_settings),
        cmocka_unit_test(the_fastest_is_found),
        cmocka_unit_test(of_equals_the_one_better_at_the_other_thing_is_taken),
        cmocka_unit_test(slow_ones_are_given_up_but_not_the_first),
        cmocka_unit_test(close_ones_are_kept_while_there_is_noise),
        cmocka_unit_test(drift_falls_on_all_alike),
        cmocka_unit_test(every_round_has_every_setting_in_changing_order),
        cmocka_unit_test(the_time_is_kept),
        cmocka_unit_test(there_is_an_end_of_rounds),
        cmocka_unit_test(a_run_that_fails_ends_it),
    };

    if (argc != 2) {
        fprintf(stderr, "usage: test_tune MACHINES.txt\n");
        return 2;
    }
    list = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
