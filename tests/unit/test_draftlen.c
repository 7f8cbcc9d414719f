/* How long drafts are: on a simulated machine they pay where they can, and never cost more
 * than a hundredth or so of the time, whatever guesses and steps do. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "text/draftlen.h"

#define SINGLE_NS 1e7
#define N_RUNS 100
#define INTERRUPTED 10 /* single steps that an interruption takes */

static uint64_t seed;

static double draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) * 0x1p-53;
}

/* Time of a step of n tokens, in steps of one: tokens share weights to some degree. */
static double shared(uint32_t n) { return 1 + 0.06 * (n - 1); }          /* a dense model */
static double mixture(uint32_t n) { return pow(n, 0.55); }               /* of experts */
static double dear(uint32_t n) { return pow(n, 0.85); }
static double nothing_shared(uint32_t n) { return n; }
static double worse(uint32_t n) { return n == 1 ? 1 : 1.4 * n; }
static double jump(uint32_t n) { return n < 8 ? n : 0.4 * n; } /* better only from 8 on */

struct world {
    double (*cost)(uint32_t n);
    double p;     /* a guess is right, each by itself */
    double noise; /* of a step's time: a share of it, up and down */
    double p_interrupted; /* a step takes INTERRUPTED more */
    double hit_share;     /* of experts; 0: none are asked for */
    bool is_liar; /* guesses are right unless they are drafted */
    uint32_t match;
};

struct result {
    double speed; /* plain time ÷ time */
    uint32_t n_drafts, n_unread;
};

/* n tokens, the way speculate.c goes. */
static struct result simulate(struct sl_draftlen *d, const struct world *w, uint32_t n)
{
    struct result result = { 0 };
    double took = 0, plain = 0;
    uint32_t done = 0;

    while (done < n) {
        enum sl_draftlen_reason reason;
        uint32_t length = sl_draftlen_choose(d, w->match, n - done - 1, &reason), n_kept = 1;
        struct sl_draftlen_step step = { .n_tok = 1 + length };
        double time = w->cost(1 + length) * (1 + w->noise * (2 * draw() - 1));
        bool is_interrupted = draw() < w->p_interrupted;

        assert_true(length < n - done);
        assert_true((length > 0) == (reason == SL_DRAFTLEN_PAYS));
        time += is_interrupted ? INTERRUPTED : 0;
        step.ns = (uint64_t)(time * SINGLE_NS);
        step.n_requests = w->hit_share > 0 ? 1000 : 0;
        step.n_hits = (uint64_t)(w->hit_share * 1000);
        sl_draftlen_measure(d, &step);
        result.n_drafts += length > 0;
        result.n_unread += reason == SL_DRAFTLEN_READING;
        took += time;
        for (uint32_t i = 0; i <= length; i++) {
            bool is_true = w->is_liar ? length == 0 : draw() < w->p;

            sl_draftlen_learn(d, w->match, is_true);
            if (!is_true || i == length)
                break;
            n_kept++;
        }
        (void)sl_draftlen_settle(d, n_kept);
        done += n_kept;
        plain += is_interrupted ? INTERRUPTED : 0; /* what struck here would have struck there */
        for (uint32_t i = 0; i < n_kept; i++)
            plain += 1 + (i > 0 && draw() < w->p_interrupted ? INTERRUPTED : 0);
    }
    result.speed = plain / took;
    return result;
}

static struct result run(const struct world *w, uint32_t n)
{
    struct sl_draftlen d;

    sl_draftlen_init(&d);
    return simulate(&d, w, n);
}

/* The mean of many runs, and the least. */
static double mean_speed(const struct world *w, uint32_t n, double *ret_least)
{
    double sum = 0;

    *ret_least = 1e9;
    for (int i = 0; i < N_RUNS; i++) {
        double speed = run(w, n).speed;

        sum += speed;
        *ret_least = speed < *ret_least ? speed : *ret_least;
    }
    return sum / N_RUNS;
}

static void test_wrong_guesses_cost_nothing(void **state)
{
    double (*const costs[])(uint32_t) = { shared, mixture, dear, nothing_shared, worse, jump };

    (void)state;
    for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++)
        for (uint32_t n = 32; n <= 1024; n *= 2) {
            struct world w = { .cost = costs[i], .p = 0, .match = 32 };
            struct result result = run(&w, n);

            assert_int_equal(result.n_drafts, 0);
            assert_true(result.speed > 0.999);
        }
}

static void test_right_guesses_pay(void **state)
{
    static const struct {
        double (*cost)(uint32_t);
        double p, least;
    } cases[] = {
        { mixture, 0.80, 1.15 }, { mixture, 0.95, 1.6 }, { mixture, 1, 2.2 },
        { shared, 0.80, 2.5 },   { shared, 0.95, 4 },    { shared, 1, 6 },
        { dear, 0.95, 1.0 },     { dear, 1, 1.2 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world w = { .cost = cases[i].cost, .p = cases[i].p, .noise = 0.05, .match = 32 };
        double least, mean = mean_speed(&w, 256, &least);

        print_message("p %.2f: %.2f times plain, at least %.2f\n", w.p, mean, least);
        assert_true(mean >= cases[i].least);
        assert_true(least >= 0.95);
    }
}

/* Also where nothing can be gained. */
static void test_never_much_slower(void **state)
{
    double (*const costs[])(uint32_t) = { mixture, dear, nothing_shared, worse, jump };
    static const double ps[] = { 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1 };

    (void)state;
    for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++)
        for (size_t j = 0; j < sizeof(ps) / sizeof(ps[0]); j++)
            for (uint32_t match = 2; match <= 32; match += 10) {
                struct world w = { .cost = costs[i], .p = ps[j], .noise = 0.1, .match = match };
                double least, mean = mean_speed(&w, 512, &least);

                assert_true(mean >= 0.975);
                assert_true(least >= 0.95);
            }
}

static void test_guesses_that_turn_wrong(void **state)
{
    double (*const costs[])(uint32_t) = { shared, mixture, dear, nothing_shared, worse };

    (void)state;
    for (size_t i = 0; i < sizeof(costs) / sizeof(costs[0]); i++) {
        struct world w = { .cost = costs[i], .is_liar = true, .match = 32 };
        struct result result = run(&w, 2000);

        assert_true(result.n_drafts > 0);
        assert_true(result.speed >= 0.98);
    }
}

static void test_follows_what_changes(void **state)
{
    struct world w = { .cost = mixture, .p = 1, .noise = 0.05, .match = 32 };
    struct sl_draftlen d;

    (void)state;
    sl_draftlen_init(&d);
    assert_true(simulate(&d, &w, 300).speed > 2);
    w.p = 0;
    assert_true(simulate(&d, &w, 300).speed > 0.95);
    w.p = 0.95;
    assert_true(simulate(&d, &w, 1000).speed > 1.3);
    w.cost = worse;
    assert_true(simulate(&d, &w, 1500).speed > 0.95);
    w.cost = mixture;
    assert_true(simulate(&d, &w, 3000).speed > 1.2);
}

static void test_interruptions_do_not_matter(void **state)
{
    struct world w = { .cost = mixture, .p = 0.95, .noise = 0.1, .p_interrupted = 0.05,
                       .match = 32 };
    double least;

    (void)state;
    assert_true(mean_speed(&w, 512, &least) > 1.4);
    w.p = 0;
    assert_true(mean_speed(&w, 512, &least) > 0.99);
}

static void test_reading_switches_it_off(void **state)
{
    struct world w = { .cost = mixture, .p = 1, .hit_share = 0.94, .match = 32 };
    struct sl_draftlen d;
    struct result result;

    (void)state;
    sl_draftlen_init(&d);
    result = simulate(&d, &w, 300);
    assert_int_equal(result.n_drafts, 0);
    assert_int_equal(result.n_unread, 299); /* before the first step nothing is known */
    assert_true(fabs(sl_draftlen_hit_share(&d) - 0.94) < 1e-9);
    w.hit_share = 0.96; /* and on again */
    result = simulate(&d, &w, 300);
    assert_true(result.n_drafts > 10);
    assert_true(result.n_unread > 0 && result.n_unread < 64);
    w.hit_share = 0.5;
    result = simulate(&d, &w, 300);
    assert_true(result.n_drafts < 10);
    w.hit_share = 0;
    sl_draftlen_init(&d);
    assert_true(simulate(&d, &w, 300).n_drafts > 10);
    assert_true(sl_draftlen_hit_share(&d) == 1);
}

/* What a draft of n tokens gives, as a share of what the best length does. */
static double share_of_best(const struct world *w, uint32_t n)
{
    double best = 0, tokens = 0, got = 0, all_true = 1;

    for (uint32_t i = 0; i <= SL_DRAFTLEN_MAX; i++) {
        double gain;

        tokens += all_true;
        all_true *= w->p;
        gain = tokens / w->cost(i + 1);
        best = gain > best ? gain : best;
        got = i == n ? gain : got;
    }
    return got / best;
}

/* The best length is chosen, against all others, as well as some fifty guesses tell how many
 * of them come true. */
static void test_best_length(void **state)
{
    struct world w = { .cost = mixture, .p = 0.9, .match = 32 };
    enum sl_draftlen_reason reason;
    struct sl_draftlen d;
    double sum = 0;
    uint32_t n = 0;

    (void)state;
    for (int i = 0; i < N_RUNS; i++) {
        sl_draftlen_init(&d);
        (void)simulate(&d, &w, 3000);
        n = sl_draftlen_choose(&d, 32, SL_DRAFTLEN_MAX, &reason);
        sum += share_of_best(&w, n);
    }
    print_message("the lengths chosen give %.3f of the best\n", sum / N_RUNS);
    assert_true(sum / N_RUNS > 0.95);
    assert_true(fabs(sl_draftlen_cost(&d, n + 1) - mixture(n + 1)) < 1e-6);
    assert_true(sl_draftlen_cost(&d, 1) == 1);
    assert_true(sl_draftlen_cost(&d, 3) == 0);
    for (uint32_t most = 0; most <= SL_DRAFTLEN_MAX; most++)
        assert_true(sl_draftlen_choose(&d, 32, most, &reason) <= most);
}

int main(void)
{
    const char *text = getenv("SL_SEED");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_guesses_cost_nothing),
        cmocka_unit_test(test_right_guesses_pay),
        cmocka_unit_test(test_never_much_slower),
        cmocka_unit_test(test_guesses_that_turn_wrong),
        cmocka_unit_test(test_follows_what_changes),
        cmocka_unit_test(test_interruptions_do_not_matter),
        cmocka_unit_test(test_reading_switches_it_off),
        cmocka_unit_test(test_best_length),
    };

    seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);
    printf("SL_SEED=%llu\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
