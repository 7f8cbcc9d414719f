/* Values of experts: what LRU and LFU promise, what the default policy learns, and that
 * nothing given to it does harm. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "experts/evict.h"

#define N_LAYERS 6u
#define N_EXPERTS 32u
#define N_USED 4u

static uint64_t seed_of_run(void)
{
    const char *text = getenv("SL_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)time(NULL);

    printf("SL_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

static uint32_t draw(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static struct sl_evict *make(enum sl_evict_policy policy)
{
    struct sl_evict *evict;

    assert_int_equal(sl_evict_new(&evict, policy, N_LAYERS, N_EXPERTS, N_USED), 0);
    return evict;
}

static void test_lru_orders_by_last_use(void **state)
{
    struct sl_evict *evict = make(SL_EVICT_LRU);
    uint32_t a[] = { 1, 2, 3, 4 }, b[] = { 1, 5, 6, 7 };

    sl_evict_observe(evict, 0, a, 4, NULL);
    sl_evict_observe(evict, 3, b, 4, NULL);
    sl_evict_observe(evict, 0, b, 4, NULL);
    assert_true(sl_evict_value(evict, 0, 9) < sl_evict_value(evict, 0, 2));
    assert_true(sl_evict_value(evict, 0, 2) < sl_evict_value(evict, 3, 5));
    assert_true(sl_evict_value(evict, 3, 7) < sl_evict_value(evict, 0, 1));
    assert_true(sl_evict_value(evict, 0, 1) < sl_evict_value(evict, 0, 5));
    sl_evict_free(evict);
}

static void test_lfu_orders_by_count(void **state)
{
    struct sl_evict *evict = make(SL_EVICT_LFU);
    uint32_t a[] = { 1, 2, 3, 4 }, b[] = { 1, 5, 6, 7 };

    sl_evict_observe(evict, 2, a, 4, NULL);
    sl_evict_observe(evict, 2, b, 4, NULL);
    sl_evict_observe(evict, 2, b, 4, NULL);
    assert_float_equal(sl_evict_value(evict, 2, 1), 1, 1e-6);
    assert_float_equal(sl_evict_value(evict, 2, 5), 2.0 / 3, 1e-6);
    assert_float_equal(sl_evict_value(evict, 2, 2), 1.0 / 3, 1e-6);
    assert_float_equal(sl_evict_value(evict, 2, 9), 0, 0);
    assert_true(sl_evict_guess_value(evict, 2, 9, 0.1f) > sl_evict_value(evict, 2, 1));
    sl_evict_free(evict);
}

/* Expert e is chosen with a fixed probability: the chances must come out as it. */
static void test_chances_follow_frequencies(void **state)
{
    struct sl_evict *evict = make(SL_EVICT_DEFAULT);
    uint64_t rng = seed_of_run();
    double often = 0, seldom = 0;

    for (int t = 0; t < 2000; t++)
        for (uint32_t l = 0; l < N_LAYERS; l++) {
            uint32_t experts[N_USED], n = 0;

            experts[n++] = draw(&rng) % 10 < 7 ? 0 : 1; /* 0.7 and 0.3 */
            while (n < N_USED) {
                uint32_t e = 2 + draw(&rng) % (N_EXPERTS - 2), i = 0;

                while (i < n && experts[i] != e)
                    i++;
                if (i == n)
                    experts[n++] = e;
            }
            sl_evict_observe(evict, l, experts, N_USED, NULL);
        }
    for (uint32_t l = 0; l < N_LAYERS; l++) {
        often += sl_evict_chances(evict, l)[0] / N_LAYERS;
        for (uint32_t e = 2; e < N_EXPERTS; e++)
            seldom += sl_evict_chances(evict, l)[e] / N_LAYERS / (N_EXPERTS - 2);
        assert_float_equal(sl_evict_share(evict, l, 0), 0.7, 0.06);
    }
    assert_true(often > 0.55 && often < 0.85);
    assert_true(seldom > 0.07 && seldom < 0.13); /* 3 of 30 */
    sl_evict_free(evict);
}

/* An expert that is always nearly chosen becomes likelier than one that never is, if
 * that is how choices come about. */
static void test_ranks_tell_of_what_comes(void **state)
{
    struct sl_evict *evict = make(SL_EVICT_DEFAULT);
    uint64_t rng = seed_of_run();
    float drift[N_EXPERTS] = { 0 };
    double chosen_next = 0, near = 0, far = 0;

    for (int t = 0; t < 3000; t++) {
        float scores[N_EXPERTS];
        uint32_t experts[N_USED];
        int8_t ranks[N_EXPERTS];

        for (uint32_t e = 0; e < N_EXPERTS; e++) {
            drift[e] = drift[e] * 0.9f + (float)(draw(&rng) % 1000) / 1000 - 0.5f;
            scores[e] = drift[e];
        }
        for (uint32_t i = 0; i < N_USED; i++) {
            uint32_t best = UINT32_MAX;

            for (uint32_t e = 0; e < N_EXPERTS; e++) {
                uint32_t k = 0;

                while (k < i && experts[k] != e)
                    k++;
                if (k == i && (best == UINT32_MAX || scores[e] > scores[best]))
                    best = e;
            }
            experts[i] = best;
        }
        sl_evict_rank(scores, NULL, N_EXPERTS, experts, N_USED, ranks);
        for (uint32_t e = 0; e < N_EXPERTS; e++) {
            uint32_t k = 0;

            while (k < N_USED && experts[k] != e)
                k++;
            assert_true(k < N_USED ? ranks[e] >= 0 : ranks[e] <= 0);
        }
        if (t > 1000) {
            const float *p = sl_evict_chances(evict, 0);

            for (uint32_t i = 0; i < N_USED; i++)
                chosen_next += p[experts[i]];
        }
        sl_evict_observe(evict, 0, experts, N_USED, ranks);
        if (t > 1000)
            for (uint32_t e = 0; e < N_EXPERTS; e++) {
                near += ranks[e] < 0 && ranks[e] > -10 ? sl_evict_chances(evict, 0)[e] : 0;
                far += ranks[e] < -60 ? sl_evict_chances(evict, 0)[e] : 0;
            }
    }
    assert_true(chosen_next / 1999 / N_USED > 0.4); /* by chance 0.125 */
    assert_true(near > far);
    sl_evict_free(evict);
}

static void test_near_layers_are_worth_more(void **state)
{
    struct sl_evict *evict = make(SL_EVICT_DEFAULT);
    float last = 2;

    sl_evict_reach(evict, 2);
    for (uint32_t d = 1; d <= N_LAYERS; d++) {
        float value = sl_evict_value(evict, (2 + d) % N_LAYERS, 0);

        assert_true(value > 0 && value < last);
        last = value;
        assert_true(sl_evict_guess_value(evict, (2 + d) % N_LAYERS, 0, 0.9f) > value);
        assert_true(sl_evict_guess_value(evict, (2 + d) % N_LAYERS, 0, 0.01f) < value);
    }
    sl_evict_free(evict);
}

static void test_seeds_are_values_to_begin_with(void **state)
{
    struct sl_evict *evict = make(SL_EVICT_DEFAULT);

    assert_float_equal(sl_evict_seeded(evict, 1, 3), -1, 0);
    for (uint32_t e = 0; e < N_EXPERTS; e++)
        sl_evict_seed(evict, 1, e, e == 3 ? 0.8f : 0.02f);
    assert_float_equal(sl_evict_seeded(evict, 1, 3), 0.8, 1e-6);
    assert_true(sl_evict_chances(evict, 1)[3] > 0.6f);
    assert_true(sl_evict_chances(evict, 1)[4] < 0.05f);
    sl_evict_seed(evict, 1, 5, NAN);
    sl_evict_seed(evict, 1, 6, 17);
    assert_true(sl_evict_chances(evict, 1)[6] <= 1);
    sl_evict_free(evict);
}

/* Scores of any kind; equal observations give equal bits. */
static void test_any_scores_do_no_harm(void **state)
{
    struct sl_evict *a = make(SL_EVICT_DEFAULT), *b = make(SL_EVICT_DEFAULT);
    uint64_t rng = seed_of_run();
    const float odd[] = { NAN, INFINITY, -INFINITY, 1e38f, -1e38f, 0, 1, 1e-40f };

    for (int t = 0; t < 4000; t++) {
        float scores[N_EXPERTS], bias[N_EXPERTS];
        uint32_t experts[N_USED] = { t % 8, 8 + t % 5, 16 + t % 3, 24 };
        int8_t ranks[N_EXPERTS];
        uint32_t layer = draw(&rng) % N_LAYERS;

        for (uint32_t e = 0; e < N_EXPERTS; e++) {
            scores[e] = odd[draw(&rng) % 8];
            bias[e] = odd[draw(&rng) % 8];
        }
        sl_evict_rank(scores, t % 2 ? bias : NULL, N_EXPERTS, experts, N_USED, ranks);
        sl_evict_observe(a, layer, experts, N_USED, t % 7 ? ranks : NULL);
        sl_evict_observe(b, layer, experts, N_USED, t % 7 ? ranks : NULL);
    }
    for (uint32_t l = 0; l < N_LAYERS; l++) {
        assert_memory_equal(sl_evict_chances(a, l), sl_evict_chances(b, l),
                            N_EXPERTS * sizeof(float));
        for (uint32_t e = 0; e < N_EXPERTS; e++)
            assert_true(sl_evict_value(a, l, e) > 0 && sl_evict_value(a, l, e) <= 1);
    }
    sl_evict_free(a);
    sl_evict_free(b);
}

static void test_every_expert_used(void **state)
{
    struct sl_evict *evict;
    uint32_t all[4] = { 0, 1, 2, 3 };
    float scores[4] = { 0.5f, 0.5f, 0.5f, 0.5f };
    int8_t ranks[4];

    assert_int_equal(sl_evict_new(&evict, SL_EVICT_DEFAULT, 1, 4, 4), 0);
    sl_evict_rank(scores, NULL, 4, all, 4, ranks);
    for (int t = 0; t < 300; t++)
        sl_evict_observe(evict, 0, all, 4, ranks);
    assert_true(sl_evict_chances(evict, 0)[2] > 0.95f);
    sl_evict_free(evict);
    sl_evict_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lru_orders_by_last_use),
        cmocka_unit_test(test_lfu_orders_by_count),
        cmocka_unit_test(test_chances_follow_frequencies),
        cmocka_unit_test(test_ranks_tell_of_what_comes),
        cmocka_unit_test(test_near_layers_are_worth_more),
        cmocka_unit_test(test_seeds_are_values_to_begin_with),
        cmocka_unit_test(test_any_scores_do_no_harm),
        cmocka_unit_test(test_every_expert_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
